"""The reading end of a stream: look at it, read from any offset, follow it live."""

from __future__ import annotations

import time
from collections.abc import Callable

from shmstream.errors import LocalError, StreamNotFound
from shmstream.follower import Follower
from shmstream.memory.segment import Segment
from shmstream.metrics.catalogue import TRANSPORTS
from shmstream.process.attachment import Attachment
from shmstream.process.host import Host
from shmstream.ring.state import State
from shmstream.wakeups.hub_watch import MAX_READ, Watch

MAX_OFFSET = (1 << 63) - 1

_WAITING = TRANSPORTS.index('waiting')


def _checked(offset: int) -> int:
    if not 0 <= offset <= MAX_OFFSET:
        raise LocalError(f'offset must be from 0 to 2^63 - 1, not {offset}')
    return offset


class Consumer:
    """One stream as its readers see it. Made by ``Streams.open``; changes nothing.

    A consumer stays with its stream, even when a newer stream takes over the id. Its
    methods may be called from any thread, and block nothing: ``started`` waits on an
    event loop, and what ``follow`` returns waits when it is iterated.

    Example::

        consumer = streams.open('chat-1')
        print(consumer.state.label, consumer.total_bytes, consumer.content_type)
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
    def alias(self) -> str:
        """The second name of the stream; empty if it has none, or none yet."""
        return self._segment.alias

    @property
    def generation(self) -> str:
        """The stream's generation, 16 hexadecimal digits."""
        return self._segment.generation

    @property
    def content_type(self) -> str:
        """The media type of the bytes; empty while pending."""
        return self._segment.content_type

    @property
    def kept_headers(self) -> bytes:
        """The headers that replays have as well; see ``shmstream.kept_headers``."""
        return self._segment.kept_headers

    @property
    def total_bytes(self) -> int:
        """Bytes that have been written to the stream, dropped ones included."""
        return self._reader.total_bytes

    @property
    def dropped_prefix(self) -> int:
        """The first offset that the ring still holds."""
        return self._reader.dropped_prefix

    @property
    def state(self) -> State:
        """Pending, live, complete, cancelled or aborted."""
        return self._reader.state

    @property
    def finished(self) -> bool:
        """Whether the stream has ended: then ``total_bytes`` is final."""
        return self._reader.finished

    @property
    def started_at(self) -> float:
        """When the stream was made: unix time in seconds."""
        return self._segment.created_at_ns / 1e9

    @property
    def completed_at(self) -> float:
        """When the stream ended: unix time in seconds, 0.0 until then."""
        return self._reader.completed_at_ns / 1e9

    @property
    def never_began(self) -> bool:
        """Whether the stream was cancelled while it was pending."""
        return self.state is State.CANCELLED and not self._segment.content_type

    @property
    def untold_failure(self) -> str:
        """Why the stream has failed, if its bytes do not tell it; else empty.

        A response that sends such a stream must be cut, so that the client does not
        take the stream for a whole one.
        """
        return self._segment.failure if self.state is State.ABORTED else ''

    @property
    def evicted(self) -> bool:
        """Whether the stream can no longer be found by its id."""
        return self._segment.evicted

    @property
    def _host(self) -> Host:
        """The server that runs this process, as ``Streams.attach`` was told."""
        return self._attachment.process.host

    def read(self, offset: int = 0, limit: int = MAX_READ) -> bytes:
        """Return the bytes that are there now from ``offset`` on, at most ``limit``.

        Raises:
            LocalError: the offset is negative, or above 2^63 - 1.
            OffsetLost: the ring has dropped the byte at ``offset``.

        Example::

            print(consumer.read(consumer.dropped_prefix))
        """
        return self._reader.read(_checked(offset), limit)

    def views(self, offset: int) -> list[memoryview]:
        """Return the bytes of an ended stream from ``offset`` on, without a copy.

        Raises:
            LocalError: the stream has not ended, so its bytes may still be overwritten.
            OffsetLost: the ring has dropped the byte at ``offset``.

        Example::

            if consumer.finished:
                for view in consumer.views(consumer.dropped_prefix):
                    print(len(view))
        """
        if not self.finished:
            raise LocalError('only a stream that has ended can be viewed')
        return self._reader.views(_checked(offset))

    def follow(
        self,
        offset: int = 0,
        leave: Callable[[], bool] | None = None,
        *,
        beat_s: float | None = None,
    ) -> Follower:
        """Return an iterator over the bytes from ``offset`` on, until the end.

        Use it with ``for`` in a thread or with ``async for`` on an event loop.

        Args:
            offset: where to begin. The stream may still be shorter: then the follower
                waits until it is longer.
            leave: is asked at every wake-up; when it returns True, the follower is let
                go (``FollowCut``).
            beat_s: after so many seconds of silence, and each time again, the follower
                gives an empty chunk, for a keep-alive of the caller's own.

        Raises:
            LocalError: the offset is negative, or above 2^63 - 1. The iteration raises
                what ``Follower`` lists.

        Example::

            for chunk in consumer.follow(consumer.dropped_prefix):
                print(chunk)
        """
        return Follower(
            self._attachment, self._segment, _checked(offset), leave, beat_s
        )

    def _has_begun(self) -> bool:
        if self._reader.producer_state is State.PENDING:
            return False
        if self.never_began:
            raise StreamNotFound('stream not found or expired')
        return True

    async def started(self, wait_s: float) -> bool:
        """Wait until the stream is no longer pending, at most ``wait_s`` seconds.

        Returns:
            False if the stream is still pending.

        Raises:
            StreamNotFound: the stream was evicted or cancelled before it began.

        Example::

            if not await consumer.started(5.0):
                print('ask again later')
        """
        if self._has_begun():
            return True
        followers = self._attachment.process.followers
        hub = await followers.loop_hub()
        deadline = time.monotonic() + wait_s
        # C code puts the results into the lists, as in ``Follower._enter``.
        joined: list[Watch] = []
        counted: list[None] = []
        try:
            joined.extend(map(hub.join, (self._segment,)))
            # A reader that waits for the first byte counts as a follower, so that the
            # stream is not cancelled for want of one.
            counted.extend(map(followers.count, (self._segment,), (1,), (_WAITING,)))
            watch = joined[0]
            while True:
                seen = watch.reader.snapshot()
                if self._has_begun():
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
                    followers.count(self._segment, -1, _WAITING)
            finally:
                if joined:
                    hub.leave(joined[0])
