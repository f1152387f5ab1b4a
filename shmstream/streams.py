"""``Streams``: how a process makes, opens and stops the streams of a deployment."""

from __future__ import annotations

from collections.abc import Callable

from shmstream import internals
from shmstream.asking import Asking
from shmstream.consumer import Consumer
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.errors import StreamNotFound, StreamReplaced
from shmstream.ids import NOBODY, digest
from shmstream.new_stream import new_stream
from shmstream.process.attachment import Attachment
from shmstream.producer import Producer
from shmstream.producing.formats import Format
from shmstream.producing.sources import Source
from shmstream.producing.started import Started
from shmstream.producing.starting import Starter


class Streams(Asking):
    """The streams of one deployment. Make it with ``attach``.

    All methods may be called from any thread. The methods that ask the supervisor
    (``create``, ``start_in_thread``, ``stop``, ``cancel``, ``evict``, ``lookup``,
    ``list``, ``status``, ``open_alias``) wait for its reply, some seconds at the most;
    on an event loop call them through ``asyncio.to_thread``. ``start`` and ``astop``
    are for event loops and block nothing. ``open`` does not ask the supervisor.

    An ``owner`` is a name space: 32 bytes, all of them 0 by default. The same id under
    two owners names two streams.

    Example::

        streams = shmstream.Streams.attach()
        started = await streams.start('chat-1', model('Hello'))
        async for chunk in streams.open('chat-1').follow():
            print(chunk)
    """

    def create(
        self,
        conv_id: str,
        *,
        content_type: str = EVENT_STREAM,
        pending: bool = False,
        capacity: int | None = None,
        owner: bytes = NOBODY,
    ) -> Producer:
        r"""Make a stream. An older stream with this id is cancelled and evicted.

        Blocks until the supervisor has answered, some seconds at the most.

        If the new stream is pending and the older one has ended, the older one is kept
        until the new one begins, but is not found meanwhile. If the new stream ends
        without having begun, or is withdrawn, the older one is found again.

        Args:
            conv_id: 1 to 512 bytes of UTF-8 without control characters.
            content_type: the media type of the stream's bytes.
            pending: leave the stream pending and without a type, until
                ``Producer.begin`` is called.
            capacity: bytes of the ring; by default the deployment's setting.
            owner: the name space.

        Raises:
            InvalidConversationId: the id is not of this form.
            NoRoom: a limit is reached, and no finished stream can be evicted.
            StreamReplaced: the supervisor died during the call, and another process
                made a newer stream before this call asked the next supervisor.
            SupervisorUnavailable: no supervisor answered within some seconds, or this
                ``Streams`` was closed during the call.

        Example::

            with streams.create('chat-1') as producer:
                producer.write(b'data: Hello\n\n')
        """
        kind = None if pending else content_type
        return new_stream(self._attachment, conv_id, kind, capacity, owner)

    async def start(
        self,
        conv_id: str,
        source: Source,
        *,
        format: str | Format = 'sse',
        capacity: int | None = None,
        owner: bytes = NOBODY,
    ) -> Started:
        """Make a stream, and write a source into it to the end, whoever leaves.

        The source runs in a task of its own if it is an async iterator, and in a thread
        otherwise. A stop cancels the task: ``CancelledError`` is raised where the
        source waits. A thread's source is closed after the step that it is in; a source
        that is a function is given ``cancelled``, a ``threading.Event``, to look at
        within a long step. In either case the source is closed (``aclose``, ``close``),
        however it ends. If it raises, the stream ends with the event by which its
        format tells a failure; ``SourceFailed`` says what the event tells.

        Blocks nothing; waits for the supervisor, some seconds at the most. A process
        that is told to leave goes on with the source for ``$SHMSTREAM_DRAIN`` seconds,
        if shmstream's gunicorn hooks are installed, or the application is in
        ``shmstream.asgi.Drained``. Otherwise the source ends with its event loop.

        Args:
            conv_id: as for ``create``. An older stream with this id is replaced.
            source: yields texts, dicts, dataclasses, models of pydantic, ``SseEvent``
                or bytes; ``shmstream.producing.sources`` says what a source may be.
            format: ``'sse'``, ``'jsonl'`` (JSON lines), ``'ui'`` (the AI SDK's UI
                message stream), or ``encoded(content_type)`` for a source that yields
                what is sent. A text is data to be encoded; bytes are never changed.
            capacity: bytes of the ring; by default the deployment's setting.
            owner: the name space.

        Raises:
            LocalError: the source or the format is none.
            InvalidConversationId, NoRoom, StreamReplaced, SupervisorUnavailable: as
                ``create``. The source is closed then.

        Example::

            async def model(prompt):
                for word in prompt.split():
                    yield word

            started = await streams.start('chat-1', model('Hello world'))
            async for chunk in started.follow():
                print(chunk)
        """
        starter = Starter(self._here, conv_id, source, format, capacity, owner)
        return await starter.on_loop()

    def start_in_thread(
        self,
        conv_id: str,
        source: Source,
        *,
        format: str | Format = 'sse',
        capacity: int | None = None,
        owner: bytes = NOBODY,
    ) -> Started:
        """As ``start``, without an event loop: the source runs in a thread.

        An async source gets an event loop in that thread. Under gevent the thread is a
        greenlet, and async sources fail. Blocks until the supervisor has answered, some
        seconds at the most. Arguments, returns and raises as ``start``; and
        ``RuntimeError`` if the system has no more threads.

        Example::

            def model(cancelled):
                for word in ('Hello', 'world'):
                    yield word

            started = streams.start_in_thread('chat-1', model)
            for chunk in started.follow():
                print(chunk)
        """
        starter = Starter(self._here, conv_id, source, format, capacity, owner)
        return starter.in_thread()

    def open(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> Consumer:
        """Return a consumer of the stream with this id.

        Opens and maps a file, and waits for nothing.

        Args:
            conv_id: the conversation id.
            generation: refuse a stream of any other generation.
            owner: the name space.

        Raises:
            InvalidConversationId: the id is not of the form that ``create`` takes.
            StreamNotFound: there is no such stream.
            StreamReplaced: the stream with this id is of another generation.

        Example::

            try:
                consumer = streams.open('chat-1')
            except shmstream.StreamNotFound:
                print('unknown, or expired')
            else:
                print(consumer.state.label, consumer.total_bytes)
        """
        attachment = self._attachment
        segment = attachment.process.mappings.attach(digest(owner, conv_id))
        if generation not in (None, segment.generation):
            raise StreamReplaced(segment.generation)
        return Consumer(attachment, segment)

    def open_alias(self, alias: str, *, owner: bytes = NOBODY) -> Consumer:
        """Return a consumer of the stream that has this alias, a second name.

        The service gives an alias to the streams of OpenAI's Responses: the
        ``response.id``. If several streams have one alias, the newest is returned.
        Blocks until the supervisor has answered, some seconds at the most.

        Args:
            alias: the second name.
            owner: the name space.

        Raises:
            StreamNotFound: no stream has this alias.
            SupervisorUnavailable: no supervisor answered within some seconds.

        Example::

            try:
                consumer = streams.open_alias('resp_123')
            except shmstream.StreamNotFound:
                print('unknown, or expired')
        """
        found = self._find_alias(alias, owner)
        if found is not None:
            try:
                return self.open(found[0], generation=found[1], owner=owner)
            except StreamReplaced:
                pass
        raise StreamNotFound('stream not found or expired')

    def consumer_of(self, producer: Producer) -> Consumer:
        r"""Return a consumer of a stream that this process produces.

        It is of that very stream, also when a newer stream takes over the id. Blocks
        nothing.

        Example::

            with streams.create('chat-1') as producer:
                producer.write(b'data: Hello\n\n')
                print(streams.consumer_of(producer).read())
        """
        return internals.consumer_of(self._attachment, producer)

    async def reader_turn(self) -> Callable[[], None]:
        r"""Return a function that gives this event loop's followers the new bytes.

        A producer on the same loop calls it between two writes, and gives the loop a
        turn (``await asyncio.sleep(0)``), so that the followers get the bytes before
        the ring drops them. The function must be called on this loop.

        Raises:
            SupervisorUnavailable: there is no supervisor.

        Example::

            turn = await streams.reader_turn()
            with await asyncio.to_thread(streams.create, 'chat-1') as producer:
                for word in (b'Hello', b'world'):
                    producer.write(b'data: %b\n\n' % word)
                    turn()
                    await asyncio.sleep(0)
        """
        return (await self._process.followers.loop_hub()).look

    def _here(self) -> Attachment:
        return self._attachment
