"""The reading end of a stream: look at it, read from any offset, follow it live."""

from __future__ import annotations

import time
from collections.abc import Callable

from shmstream.errors import LocalError, StreamNotFound
from shmstream.follower import Follower
from shmstream.memory.segment import Segment
from shmstream.process.attachment import Attachment
from shmstream.ring.state import State
from shmstream.wakeups.hub_watch import MAX_READ, Watch

MAX_OFFSET = (1 << 63) - 1


def _checked(offset: int) -> int:
    if not 0 <= offset <= MAX_OFFSET:
        raise LocalError(f'offset must be from 0 to 2^63 - 1, not {offset}')
    return offset


class Consumer:
    """One session as its readers see it. Made by ``Streams.open``; changes nothing.

    It stays on the session that it was opened on, also when another one takes its id.
    """

    def __init__(self, attachment: Attachment, segment: Segment) -> None:
        self._attachment = attachment
        self._segment = segment
        self._reader = segment.reader

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
    def untold_failure(self) -> str:
        """Why it has failed, if its own bytes do not tell it; else empty.

        Whoever sends it to a client must not end as if it were whole.
        """
        return self._segment.failure if self.state is State.ABORTED else ''

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

    def views(self, offset: int) -> list[memoryview]:
        """Return what is left from ``offset`` on, uncopied, of a stream that has ended.

        Raises:
            LocalError: it has not ended: its bytes may be overwritten at any moment.
            OffsetLost: the ring has dropped it.
        """
        if not self.finished:
            raise LocalError('only what has ended can be viewed')
        return self._reader.views(_checked(offset))

    def follow(
        self, offset: int = 0, leave: Callable[[], bool] | None = None
    ) -> Follower:
        """Return an iterator over the bytes from ``offset`` on, until the end.

        Use it with ``for`` in a thread or with ``async for`` on an event loop.

        Args:
            offset: where to begin; beyond the end, it waits until the stream is there.
            leave: asked at every wake-up; True lets the follower go (``FollowCut``).
        """
        return Follower(self._attachment, self._segment, _checked(offset), leave)

    async def started(self, wait_s: float) -> bool:
        """Wait until the stream is no longer pending; False if it still is.

        Raises:
            StreamNotFound: it was evicted or cancelled before it began.
        """
        if self._reader.producer_state is not State.PENDING:
            return True
        followers = self._attachment.process.followers
        hub = await followers.loop_hub()
        deadline = time.monotonic() + wait_s
        # By C code into the lists, as in ``Follower``.
        joined: list[Watch] = []
        counted: list[None] = []
        try:
            joined.extend(map(hub.join, (self._segment,)))
            # Who waits for the first byte is counted: it keeps the generation alive.
            counted.extend(map(followers.count, (self._segment,), (1,)))
            watch = joined[0]
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
            try:
                if counted:
                    followers.count(self._segment, -1)
            finally:
                if joined:
                    hub.leave(joined[0])
