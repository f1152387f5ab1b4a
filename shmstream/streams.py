"""``Streams``: how a process makes, opens and stops the streams of a deployment."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shmstream.consumer import Consumer
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.errors import StreamReplaced
from shmstream.ids import NOBODY, digest, validate_id
from shmstream.memory.directory import RuntimeDirectory, directory_from_environment
from shmstream.new_stream import new_stream
from shmstream.process.attachment import Attachment, attach
from shmstream.process.host import Host, Named
from shmstream.process.this_process import ThisProcess
from shmstream.producer import Producer
from shmstream.producing.formats import Format
from shmstream.producing.sources import Source
from shmstream.producing.started import Started
from shmstream.producing.starting import Starter
from shmstream.supervisor.config import SupervisorConfig

_attached: weakref.WeakSet[Streams] = weakref.WeakSet()


class Streams:
    """The streams of one deployment. Make it with ``attach``.

    All methods may be called from any thread. The methods that ask the supervisor
    (``create``, ``start_in_thread``, ``stop``, ``cancel``, ``evict``, ``lookup``,
    ``list``, ``status``) wait for its reply, some seconds at the most; on an event loop
    call them through ``asyncio.to_thread``. ``start`` and ``astop`` are for event loops
    and block nothing. ``open`` does not ask the supervisor.

    An ``owner`` is a name space: 32 bytes, all of them 0 by default. The same id under
    two owners names two streams.
    """

    def __init__(self, attach: Callable[[], Attachment]) -> None:
        self._attach = attach
        self._attached_now: Attachment | None = None
        # Reentrant, because a signal handler may use the streams while the code that it
        # interrupts uses them for the first time.
        self._lock = threading.RLock()
        _attached.add(self)

    @classmethod
    def attach(
        cls,
        directory: Path | str | None = None,
        *,
        supervise: SupervisorConfig | bool = False,
        host: Host | None = None,
    ) -> Streams:
        """Join the deployment of a runtime directory. Starts and opens nothing yet.

        However often a process attaches to a directory, it takes one slot, one thread
        and one connection. It keeps them while any ``Streams`` of that directory is in
        use, or any producer, consumer or follower that such a ``Streams`` has made.

        Args:
            directory: the runtime directory, default ``$SHMSTREAM_DIR``, or else
                ``/dev/shm/shmstream-<uid>``.
            supervise: start a supervisor with these settings if there is none; the
                supervisor stops when this process ends. If a process attaches several
                times, the first settings count. Under gunicorn the hooks have started a
                supervisor, which stops with the master.
            host: the server that runs this process; by default the one that
                ``process.host.run_by`` has named. gunicorn's hooks name gunicorn. If a
                process attaches several times, the first host counts.

        Raises:
            SettingsError: ``$SHMSTREAM_DIR`` is used and is not an absolute path.
        """
        path = directory_from_environment() if directory is None else Path(directory)
        where = RuntimeDirectory(path.absolute())
        config = SupervisorConfig() if supervise is True else supervise or None
        run_by = Named() if host is None else host

        def masters() -> list[int]:
            found = run_by.masters()
            if found is not None:
                return found
            return [os.getpid()] if supervise else []

        return cls(lambda: attach(where, config, masters, run_by))

    @property
    def attachment(self) -> Attachment:
        """The attachment to this process's part; a fork makes its own at first use."""
        now = self._attached_now
        if now is not None:
            # This is nearly always so, and needs no lock.
            return now
        with self._lock:
            if self._attached_now is None:
                attachment = self._attach()
                # A signal handler may have attached meanwhile; its attachment stays.
                if self._attached_now is None:
                    self._attached_now = attachment
            return self._attached_now

    def _here(self) -> Attachment:
        return self.attachment

    @property
    def process(self) -> ThisProcess:
        """This process's part in the deployment."""
        return self.attachment.process

    @property
    def followers(self) -> int:
        """The number of followers in this process, of all streams."""
        return self.process.followers.number

    def leaving(self) -> bool:
        """Whether this process has been told to stop; for ``follow(leave=...)``."""
        return self.process.host.leaving()

    def connect(self) -> None:
        """Connect to the supervisor now rather than at the first request.

        Raises:
            SupervisorUnavailable: there is no supervisor.
        """
        self.process.connect()

    def create(
        self,
        conv_id: str,
        *,
        content_type: str = EVENT_STREAM,
        pending: bool = False,
        capacity: int | None = None,
        owner: bytes = NOBODY,
    ) -> Producer:
        """Make a stream. An older stream with this id is cancelled and evicted.

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
        """
        kind = None if pending else content_type
        return new_stream(self.attachment, conv_id, kind, capacity, owner)

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
                async for word in ...:
                    yield word

            started = await streams.start('chat-1', model('Hello'))
            async for chunk in started.follow():
                ...
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
                for word in ...:
                    yield word

            started = streams.start_in_thread('chat-1', model)
            for chunk in started.follow():
                ...
        """
        starter = Starter(self._here, conv_id, source, format, capacity, owner)
        return starter.in_thread()

    def open(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> Consumer:
        """Return a consumer of the stream with this id.

        Args:
            conv_id: the conversation id.
            generation: refuse a stream of any other generation.
            owner: the name space.

        Raises:
            InvalidConversationId: the id is not of the form that ``create`` takes.
            StreamNotFound: there is no such stream.
            StreamReplaced: the stream with this id is of another generation.
        """
        attachment = self.attachment
        segment = attachment.process.mappings.attach(digest(owner, conv_id))
        if generation not in (None, segment.generation):
            raise StreamReplaced(segment.generation)
        return Consumer(attachment, segment)

    def consumer_of(self, producer: Producer) -> Consumer:
        """Return a consumer of a stream that this process produces.

        It is of that very stream, also when a newer stream takes over the id.
        """
        return Consumer(self.attachment, producer.segment)

    async def reader_turn(self) -> Callable[[], None]:
        """Return a function that gives this event loop's followers the new bytes.

        A producer on the same loop calls it between two writes, and gives the loop a
        turn (``await asyncio.sleep(0)``), so that the followers get the bytes before
        the ring drops them. The function must be called on this loop.

        Raises:
            SupervisorUnavailable: there is no supervisor.
        """
        return (await self.process.followers.loop_hub()).look

    def stop(
        self,
        conv_id: str,
        *,
        generation: str | None = None,
        owner: bytes = NOBODY,
        evict: bool = False,
    ) -> bool:
        """Stop a stream: its producer in whatever process, and its readers for good.

        The readers get a clean end, which tells the stop in the stream's dialect, at
        once, also while the source is silent. What was written stays readable, in the
        state ``cancelled``, until the stream expires. ``stop`` does not wait for any of
        that: it blocks until the supervisor has answered, some seconds at the most.

        Args:
            conv_id: the conversation id.
            generation: stop no stream of any other generation.
            owner: the name space.
            evict: remove the stream as well: nobody finds it any more.

        Returns:
            Whether there was such a stream.

        Raises:
            InvalidConversationId: the id is not of the form that ``create`` takes.
            SupervisorUnavailable: no supervisor answered within some seconds.

        Example::

            streams.stop('chat-1', generation=started.generation)
        """
        return self._stop('evict' if evict else 'cancel', conv_id, generation, owner)

    async def astop(
        self,
        conv_id: str,
        *,
        generation: str | None = None,
        owner: bytes = NOBODY,
        evict: bool = False,
    ) -> bool:
        """As ``stop``, on an event loop: blocks nothing.

        Example::

            await streams.astop('chat-1')
        """
        return await asyncio.to_thread(
            self.stop, conv_id, generation=generation, owner=owner, evict=evict
        )

    def cancel(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Tell the producer to stop, in whatever process it runs.

        The bytes that it has written so far stay readable.

        Returns:
            Whether there was such a stream (of that generation, if one is given).

        Raises:
            InvalidConversationId: the id is not of the form that ``create`` takes.
            SupervisorUnavailable: no supervisor answered within some seconds.
        """
        return self._stop('cancel', conv_id, generation, owner)

    def evict(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Cancel the stream and remove it; returns and raises as ``cancel``."""
        return self._stop('evict', conv_id, generation, owner)

    def withdraw(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Take back a pending stream: the stream that it replaced is found again.

        Returns and raises as ``cancel``.
        """
        return self._stop('withdraw', conv_id, generation, owner)

    def _stop(
        self, op: str, conv_id: str, generation: str | None, owner: bytes
    ) -> bool:
        validate_id(conv_id)
        reply, _ = self.process.link.client.request(
            op, owner=owner.hex(), id=conv_id, generation=generation
        )
        return bool(reply['found'])

    def lookup(
        self, conv_ids: list[str], *, owner: bytes = NOBODY
    ) -> list[dict[str, Any]]:
        """Describe each stream whose id is one of these or begins with one and ``::``.

        Returns:
            For each stream: conversation_id, is_done, total_bytes, started_at and
            completed_at (unix seconds, 0 until the end), dropped_prefix, state,
            generation. The order is that of ``conv_ids``; no stream comes twice.

        Raises:
            SupervisorUnavailable: no supervisor answered within some seconds.
        """
        reply, _ = self.process.link.client.request(
            'lookup', owner=owner.hex(), ids=conv_ids
        )
        sessions: list[dict[str, Any]] = reply['sessions']
        return sessions

    def list(self) -> list[dict[str, Any]]:
        """Describe all streams of all owners. For tools: no client may see this list.

        Raises:
            SupervisorUnavailable: no supervisor answered within some seconds.
        """
        sessions: list[dict[str, Any]] = self.process.link.client.request('list')[0][
            'sessions'
        ]
        return sessions

    def status(self) -> dict[str, Any]:
        """Return what the supervisor reports: its pid, masters, sessions and memory.

        Raises:
            SupervisorUnavailable: no supervisor answered within some seconds.
        """
        return self.process.link.client.request('status')[0]

    def close(self) -> None:
        """Abort the producers that this ``Streams`` has made, and let its followers go.

        The process also ends its threads and leaves the deployment, unless another
        ``Streams`` in it is attached to the same directory.
        """
        with self._lock:
            attachment, self._attached_now = self._attached_now, None
        if attachment is not None:
            attachment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        # Another thread of the parent may have held the lock during the fork.
        self._lock = threading.RLock()
        self._attached_now = None


def _forget_parents() -> None:
    for streams in list(_attached):
        streams._after_fork()


os.register_at_fork(after_in_child=_forget_parents)
