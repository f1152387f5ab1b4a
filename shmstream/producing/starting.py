"""Makes a stream, and begins the production that writes a source into it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterable, Callable

from shmstream.internals import consumer_of
from shmstream.kept_headers import to_keep
from shmstream.new_stream import new_stream
from shmstream.process.attachment import Attachment
from shmstream.producer import Producer
from shmstream.producing.async_source import AsyncSource
from shmstream.producing.formats import Format, format_of
from shmstream.producing.pace import Pace
from shmstream.producing.production import Production
from shmstream.producing.running import here
from shmstream.producing.sources import Source, check, close_async, close_blocking
from shmstream.producing.started import Started
from shmstream.producing.task import ProducingTask
from shmstream.producing.thread import ProducingThread
from shmstream.producing.writing import Writing

_starting: set[asyncio.Task[Started]] = set()
"""An event loop holds its tasks weakly."""


class Starter:
    """Starts one production.

    Args:
        attach: returns the attachment that the stream will belong to. It may look at
            files, so it is not called on an event loop.
        conv_id: the conversation id, not checked yet.
        source: the source, not checked yet. It is closed if it cannot be started.
        format: the format, not checked yet.
        capacity: bytes of the ring; None: the deployment's setting.
        owner: the name space.

    Raises:
        LocalError: the source or the format is none.
    """

    def __init__(
        self,
        attach: Callable[[], Attachment],
        conv_id: str,
        source: Source,
        format: str | Format,
        capacity: int | None,
        owner: bytes,
    ) -> None:
        check(source)
        self._source = source
        self._format = format_of(format)
        self._attach = attach
        self._conv_id = conv_id
        self._capacity = capacity
        self._owner = owner

    def _make(self) -> Producer:
        here.check_room()
        return new_stream(
            self._attach(),
            self._conv_id,
            self._format.content_type,
            self._capacity,
            self._owner,
            to_keep(self._format.headers),
        )

    def in_thread(self) -> Started:
        """Start in a thread; raises as ``Streams.start_in_thread``."""
        try:
            return self._begin_thread(self._make())
        except BaseException:
            close_blocking(self._source)
            raise

    async def on_loop(self) -> Started:
        """Start on this event loop, or in a thread; raises as ``Streams.start``.

        A caller that is cancelled meanwhile (its client has left) does not get the
        ``Started``, but the production runs.
        """
        task = asyncio.get_running_loop().create_task(self._start_on_loop())
        _starting.add(task)
        task.add_done_callback(_starting.discard)
        return await asyncio.shield(task)

    async def _start_on_loop(self) -> Started:
        if not isinstance(self._source, AsyncIterable):
            return await asyncio.to_thread(self.in_thread)
        try:
            producer = await asyncio.to_thread(self._make)
        except BaseException:
            await close_async(self._source)
            raise
        production = ProducingTask()
        pace = Pace()
        source = AsyncSource(
            producer,
            self._source,
            Writing(producer, self._format),
            pace,
            self._reader_turn,
            production.cancelled,
        )
        begin = functools.partial(production.begin, source)
        return self._started(producer, production, pace, begin)

    def _begin_thread(self, producer: Producer) -> Started:
        pace = Pace()
        production = ProducingThread(
            producer,
            self._source,
            Writing(producer, self._format),
            pace,
            self._reader_turn,
        )
        return self._started(producer, production, pace, production.begin)

    def _started(
        self,
        producer: Producer,
        production: Production,
        pace: Pace,
        begin: Callable[[Callable[[], object]], object],
    ) -> Started:
        here.add(production)
        try:
            # Before it begins: a stream that is cancelled by now stops it at once.
            production.writes(producer)
            begin(functools.partial(here.remove, production))
        except BaseException:
            here.remove(production)
            producer.abort('the source could not be started')
            raise
        consumer = consumer_of(self._attach(), producer)
        return Started(production, consumer, pace)

    async def _reader_turn(self) -> Callable[[], None]:
        return (await self._attach().process.followers.loop_hub()).look
