"""The reading end of a stream: look at it, read from any offset, follow it live."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Self

from shmstream.errors import FollowCut, LocalError, StreamNotFound
from shmstream.memory.segment import Segment
from shmstream.ring.ring import RingReader
from shmstream.ring.state import State
from shmstream.wakeups.hub import MAX_READ, Watch
from shmstream.wakeups.loop import LoopHub
from shmstream.wakeups.threads import ThreadHub

if TYPE_CHECKING:
    from shmstream.runtime import Runtime

MAX_OFFSET = (1 << 63) - 1

CANCEL_GRACE_S = 0.5
"""How long the producer of a cancelled stream has to say that it has stopped."""

_CANCEL_LOOK_S = 0.1


def _checked(offset: int) -> int:
    if not 0 <= offset <= MAX_OFFSET:
        raise LocalError(f'offset must be from 0 to 2^63 - 1, not {offset}')
    return offset


class Consumer:
    """One session as its readers see it. Made by ``Streams.open``; changes nothing.

    It stays on the session that it was opened on, also when another one takes its id.
    """

    def __init__(self, runtime: Runtime, segment: Segment) -> None:
        self._runtime = runtime
        self._segment = segment
        self._reader = RingReader(segment.view)

    @property
    def conv_id(self) -> str:
        """The conversation id."""
        return self._segment.conv_id

    @property
    def generation(self) -> str:
        """The session's generation, 16 hexadecimal digits."""
        return self._segment.generation

    @property
    def content_type(self) -> str:
        """The media type of the bytes; empty while pending."""
        return self._segment.content_type

    @property
    def total_bytes(self) -> int:
        """Bytes that ever entered the stream."""
        return self._reader.total_bytes

    @property
    def dropped_prefix(self) -> int:
        """The first offset that is still there."""
        return self._reader.dropped_prefix

    @property
    def state(self) -> State:
        """Pending, live, complete, cancelled or aborted."""
        return self._reader.state

    @property
    def finished(self) -> bool:
        """Whether the producer has ended it: ``total_bytes`` is final then."""
        return self._reader.producer_state.final

    @property
    def started_at(self) -> float:
        """Unix time in seconds."""
        return self._segment.created_at_ns / 1e9

    @property
    def completed_at(self) -> float:
        """Unix time in seconds, 0.0 until the end."""
        return self._reader.completed_at_ns / 1e9

    @property
    def never_began(self) -> bool:
        """Whether it was cancelled before there was an answer."""
        return self.state is State.CANCELLED and not self._segment.content_type

    @property
    def evicted(self) -> bool:
        """Whether it is no longer to be found under its id."""
        return self._segment.evicted

    def read(self, offset: int = 0, limit: int = MAX_READ) -> bytes:
        """Return what is there now from ``offset`` on, up to ``limit`` bytes.

        Raises:
            OffsetLost: the ring has dropped it.
        """
        return self._reader.read(_checked(offset), limit)

    def follow(
        self, offset: int = 0, leave: Callable[[], bool] | None = None
    ) -> Follower:
        """Return an iterator over the bytes from ``offset`` on, until the end.

        Use it with ``for`` in a thread or with ``async for`` on an event loop.

        Args:
            offset: where to begin; beyond the end, it waits until the stream is there.
            leave: asked at every wake-up; True lets the follower go (``FollowCut``).
        """
        return Follower(self._runtime, self._segment, _checked(offset), leave)

    async def started(self, wait_s: float) -> bool:
        """Wait until the stream is no longer pending; False if it still is.

        Raises:
            StreamNotFound: it was evicted or cancelled before it began.
        """
        if self._reader.producer_state is not State.PENDING:
            return True
        hub = await self._runtime.loop_hub()
        watch = hub.join(self._segment)
        deadline = time.monotonic() + wait_s
        # Who waits for the first byte listens: it keeps the generation alive.
        self._runtime.count_follower(self._segment, +1)
        try:
            while True:
                seen = watch.reader.snapshot()
                if watch.reader.producer_state is not State.PENDING:
                    return True
                if self._segment.evicted or self._segment.cancelled:
                    raise StreamNotFound('stream not found or expired')
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                await hub.wait(watch, seen, left_s)
        finally:
            self._runtime.count_follower(self._segment, -1)
            hub.leave(watch)


class Follower:
    """Iterates over a stream's bytes, in a thread or on an event loop, not both.

    Takes nothing before its first step: one that is never iterated needs no ``close``.
    Ends at the stream's end.

    Attributes:
        offset: the next byte that it will deliver. After an exception: where to resume.

    Raises (from the iteration):
        OffsetLost: the ring overtook it; it never skips.
        FollowCut: it was let go before the end.
    """

    def __init__(
        self,
        runtime: Runtime,
        segment: Segment,
        offset: int,
        leave: Callable[[], bool] | None,
    ) -> None:
        self._runtime = runtime
        self._segment = segment
        self.offset = offset
        self._leave = leave
        # Who comes while we leave still gets what is there: no request is in vain.
        self._delivered = False
        self._watch: Watch | None = None
        self._hub: LoopHub | ThreadHub | None = None
        self._seen = b''
        self._cancel_seen_at: float | None = None
        self._done = False

    def _step(self, watch: Watch) -> bytes | None:
        """Return bytes, or b'' at the end, or None: wait for the header to change."""
        leave = self._leave is not None and self._leave()
        if leave and self._delivered:
            raise FollowCut(self.offset, 'this worker is leaving')
        reader = watch.reader
        # In this order: a change after any of them shows in the next snapshot, and a
        # state that is final before head is read makes head final.
        self._seen = reader.snapshot()
        final = reader.producer_state.final
        data = watch.read(self.offset)
        if data:
            self.offset += len(data)
            self._delivered = True
            return data
        if final:
            return b''
        if leave:
            raise FollowCut(self.offset, 'this worker is leaving')
        if self._segment.cancelled:
            now = time.monotonic()
            if self._cancel_seen_at is None:
                self._cancel_seen_at = now
            elif now - self._cancel_seen_at > CANCEL_GRACE_S:
                raise FollowCut(self.offset, 'cancelled, and its producer is silent')
        return None

    @property
    def _wait_s(self) -> float | None:
        return None if self._cancel_seen_at is None else _CANCEL_LOOK_S

    def _enter(self, hub: LoopHub | ThreadHub) -> Watch:
        watch = hub.join(self._segment)
        self._hub, self._watch = hub, watch
        self._runtime.count_follower(self._segment, +1)
        return watch

    def close(self) -> None:
        """Let go of the stream. Idempotent; the end and exceptions do it as well."""
        self._done = True
        watch, self._watch = self._watch, None
        # A forked child's copy is not counted, nor is it in a hub.
        if watch is not None and self._hub is not None and self._runtime.here:
            self._runtime.count_follower(self._segment, -1)
            self._hub.leave(watch)

    # -- in a thread -----------------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._done:
            raise StopIteration
        try:
            if self._watch is None:
                self._runtime.connect()
                self._enter(self._runtime.thread_hub)
            hub, watch = self._hub, self._watch
            if watch is None or not isinstance(hub, ThreadHub):
                raise LocalError('this follower is iterated on an event loop')
            while (data := self._step(watch)) is None:
                hub.wait(watch, self._seen, self._wait_s)
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise StopIteration
        return data

    # -- on an event loop ------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._done:
            raise StopAsyncIteration
        try:
            if self._watch is None:
                self._enter(await self._runtime.loop_hub())
            hub, watch = self._hub, self._watch
            if watch is None or not isinstance(hub, LoopHub):
                raise LocalError('this follower is iterated in a thread')
            while (data := self._step(watch)) is None:
                await hub.wait(watch, self._seen, self._wait_s)
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise StopAsyncIteration
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        watch = getattr(self, '_watch', None)
        if watch is not None and self._hub is not None:
            self._runtime.drop_follower(self._hub, watch)
