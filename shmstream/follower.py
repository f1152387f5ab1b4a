"""The live reading end of a stream."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NoReturn, Self

from shmstream.errors import FollowCut, LocalError, OffsetLost, ShmstreamError
from shmstream.memory.segment import Segment
from shmstream.metrics.catalogue import LOST, TRANSPORTS
from shmstream.process.attachment import Attachment
from shmstream.ring.state import State
from shmstream.wakeups.hub_delivery import Delivery, Send, Write
from shmstream.wakeups.hub_in_threads import ThreadHub
from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_watch import PIECE, Watch

_WAITING = TRANSPORTS.index('waiting')

CANCEL_GRACE_S = 0.5
"""How long followers wait for the producer of a cancelled stream to end it."""

_CANCEL_LOOK_S = 0.1
"""How often these followers look whether that time is over."""

_LOOKS_PER_BEAT = 3
"""How often a follower looks whether a beat is due; it is late by one look at most."""


class _StreamEnded(Exception):
    """The follower has reached the stream's end. Callers never see this exception."""


class Follower:
    """Iterates over a stream's bytes, either in a thread or on an event loop.

    In a thread a step blocks until there are bytes, or the stream has ended. On an
    event loop it waits without blocking, and ``deliver`` does the same at a lower cost.

    A follower that is never iterated holds nothing and needs no ``close``. It counts as
    a follower of the stream from its first step until the end or ``close``. The
    iteration ends only at the stream's end. A step that is cancelled, times out or is
    interrupted has taken no byte, and the next step goes on at ``offset``. A step gives
    no bytes only if ``beat_s`` was given to ``Consumer.follow``.

    Attributes:
        offset: the next byte that it will deliver. After an exception: where to resume.
        delivered: whether it has delivered any byte.

    Raises (from the iteration; the first two again at every further step):
        OffsetLost: the ring overtook the follower, which never skips bytes.
        FollowCut: the follower was let go before the end.
        LocalError: the follower was closed before the end, or is iterated both in a
            thread and on an event loop.

    Example::

        follower = consumer.follow()
        try:
            async for chunk in follower:
                print(chunk)
        except shmstream.FollowCut as ex:
            print('resume at', ex.offset)
        except shmstream.OffsetLost as ex:
            print('begin again at', ex.dropped_prefix)
    """

    def __init__(
        self,
        attachment: Attachment,
        segment: Segment,
        offset: int,
        leave: Callable[[], bool] | None,
        beat_s: float | None = None,
    ) -> None:
        self._attachment = attachment
        self._process = attachment.process
        self._followers = attachment.process.followers
        self._segment = segment
        self.offset = offset
        self._leave = leave
        self._beat_s = beat_s
        self._silent_since = 0.0
        self.delivered = False
        self._watch: Watch | None = None
        self._hub: LoopHub | ThreadHub | None = None
        self._seen = b''
        self._cancel_seen_at: float | None = None
        self._counted = False
        self._transport = 0
        self._resumed = offset > 0
        # Why the follower has stopped: the stream's end, or an exception that every
        # further step raises.
        self._over: _StreamEnded | ShmstreamError | None = None

    @property
    def over(self) -> bool:
        """Whether it delivers nothing any more: at the end, let go, or closed."""
        return self._over is not None

    @property
    def untold_failure(self) -> str:
        """Why the stream has failed, if its bytes do not tell it; else empty."""
        aborted = self._segment.reader.producer_state is State.ABORTED
        return self._segment.failure if aborted else ''

    def _look(self, watch: Watch) -> bytes:
        """Return the bytes that are there.

        If there are none, the caller waits until the header differs from ``_seen``.

        Raises:
            _StreamEnded: all bytes have been delivered.
            OffsetLost, FollowCut: as the iteration.
        """
        leave = self._leave is not None and self._leave()
        # A request that arrives while the worker leaves still gets the bytes that are
        # there: the follower is let go only when it has delivered some.
        if leave and self.delivered:
            raise FollowCut(self.offset, 'this worker is leaving')
        reader = watch.reader
        # The order matters. The snapshot comes first, so that a later change makes the
        # next snapshot differ. The state is read before the head: if the state is final
        # by then, the head is final as well.
        self._seen = reader.snapshot()
        final = reader.finished
        data = watch.read(self.offset)
        if data:
            return data
        if final:
            raise _StreamEnded
        if leave:
            raise FollowCut(self.offset, 'this worker is leaving')
        if self._attachment.closed:
            raise FollowCut(self.offset, 'this process has left')
        if self._segment.cancelled:
            now = time.monotonic()
            if self._cancel_seen_at is None:
                self._cancel_seen_at = now
            elif now - self._cancel_seen_at > CANCEL_GRACE_S:
                raise FollowCut(self.offset, 'cancelled, but its producer is silent')
        return data

    @property
    def _wait_s(self) -> float | None:
        if self._cancel_seen_at is not None:
            return _CANCEL_LOOK_S
        return None if self._beat_s is None else self._beat_s / _LOOKS_PER_BEAT

    def _begin_silence(self) -> None:
        if self._beat_s is not None:
            self._silent_since = time.monotonic()

    def _beats(self, at: int) -> bool:
        """Whether a beat is due after a wait that has begun at this offset."""
        now = time.monotonic()
        if self.offset != at:
            self._silent_since = now
        if self._beat_s is None or now - self._silent_since < self._beat_s:
            return False
        self._silent_since = now
        return True

    def _leaves_by(self, transport: str, resumed: bool | None) -> None:
        """Note how the bytes leave, before the first step; see ``note_transport``."""
        self._transport = TRANSPORTS.index(transport)
        if resumed is not None:
            self._resumed = resumed

    def _enter(self, hub: LoopHub | ThreadHub) -> Watch:
        # C code puts the results into the lists. So, wherever a signal handler raises,
        # the lists say which of the two calls has been done and has to be undone.
        joined: list[Watch] = []
        counted: list[None] = []
        try:
            joined.extend(map(hub.join, (self._segment,)))
            counted.extend(
                map(
                    self._followers.count,
                    (self._segment,),
                    (1,),
                    (self._transport,),
                )
            )
            self._hub, self._watch, self._counted = hub, joined[0], True
            if not self.delivered and self._transport != _WAITING:
                self._followers.serve(self._segment, self._resumed)
            return joined[0]
        except BaseException:
            self._watch, self._counted = None, False
            try:
                if counted:
                    self._followers.count(self._segment, -1, self._transport)
            finally:
                if joined:
                    hub.leave(joined[0])
            raise

    def close(self) -> None:
        """Let go of the stream. Idempotent.

        Blocks nothing. The stream's end lets go of it, too. If the follower is closed
        before that, further steps raise ``LocalError``.

        Example::

            follower = consumer.follow()
            first = next(follower)
            follower.close()
        """
        if self._over is None:
            self._stop(LocalError(f'this follower was closed at offset {self.offset}'))
        self._leave_hub()

    def _stop(self, why: _StreamEnded | ShmstreamError) -> None:
        if isinstance(why, OffsetLost):
            self._process.counts.add(LOST.at)
        # A copy is kept, because an exception that was raised keeps its frames alive.
        self._over = copy.copy(why)
        self._leave_hub()

    def _raise_again(self, at_the_end: type[Exception]) -> NoReturn:
        """Raise what every further step raises."""
        if self._over is None or isinstance(self._over, _StreamEnded):
            raise at_the_end
        raise copy.copy(self._over)

    def _leave_hub(self) -> None:
        # After a fork the child's copy of a follower is neither counted nor in a hub.
        if self._watch is None or self._hub is None or not self._process.here:
            self._watch = None
            return
        try:
            if self._counted:
                self._counted = False
                self._followers.count(self._segment, -1, self._transport)
        finally:
            watch, self._watch = self._watch, None
            if watch is not None:
                self._hub.leave(watch)

    # -- in a thread -----------------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over is not None:
            self._raise_again(StopIteration)
        try:
            if self._watch is None:
                self._enter(self._followers.thread_hub())
            hub, watch = self._hub, self._watch
            if watch is None or not isinstance(hub, ThreadHub):
                raise LocalError('this follower is iterated on an event loop')
            self._begin_silence()
            while not (data := self._look(watch)):
                hub.wait(watch, self._seen, self._wait_s)
                if self._beat_s is not None and self._beats(self.offset):
                    return b''
        except (OffsetLost, FollowCut) as ex:
            self._stop(ex)
            raise
        except _StreamEnded as ex:
            self._stop(ex)
            raise StopIteration from None
        # These lines come last, so that a step that is interrupted has taken nothing.
        # No signal comes between them: CPython runs signal handlers after calls only.
        size = len(data)
        self.delivered = True
        watch.delivered += PIECE + size
        self.offset += size
        return data

    # -- on an event loop ------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def _enter_loop(self) -> tuple[LoopHub, Watch]:
        hub, watch = self._hub, self._watch
        if watch is not None and isinstance(hub, ThreadHub):
            raise LocalError('this follower is iterated in a thread')
        if (
            watch is None
            or not isinstance(hub, LoopHub)
            or hub.loop is not asyncio.get_running_loop()
        ):
            there = await self._followers.loop_hub()
            if watch is not None and hub is not None:
                # The follower was in the hub of another event loop, which may have
                # been closed since.
                counted, self._watch, self._counted = self._counted, None, False
                self._followers.drop(hub, watch, counted, self._transport)
            hub, watch = there, self._enter(there)
        return hub, watch

    async def __anext__(self) -> bytes:
        if self._over is not None:
            self._raise_again(StopAsyncIteration)
        try:
            hub, watch = await self._enter_loop()
            self._begin_silence()
            while not (data := self._look(watch)):
                await hub.wait(watch, self._seen, self._wait_s)
                if self._beat_s is not None and self._beats(self.offset):
                    return b''
        except (OffsetLost, FollowCut) as ex:
            self._stop(ex)
            raise
        except _StreamEnded as ex:
            self._stop(ex)
            raise StopAsyncIteration from None
        # Nothing is awaited from here on, so a cancel cannot separate these lines from
        # the return.
        size = len(data)
        self.delivered = True
        watch.delivered += PIECE + size
        self.offset += size
        return data

    async def deliver(self, send: Send, write: Write | None = None) -> None:
        """Send the bytes from ``offset`` on, until the stream's end.

        Bytes that have been handed to ``send`` count as delivered, also if ``send``
        raises or is cancelled, and are never handed over again. When this method
        returns or raises, the follower is no longer counted. A further call goes on at
        ``offset``.

        For bytes that come live the hub calls ``send`` in its own turn of the loop,
        outside of this task, and steps the coroutine once. So a delivery for which
        ``send`` has nothing to wait for costs neither a future nor a task switch. If
        ``send`` has to wait, this task takes it over. Hence ``send`` must not depend
        on the task that it runs in (as ``asyncio.timeout`` does), and ``leave`` is
        asked when the process is told to leave, not at each delivery.

        Args:
            send: takes the next bytes; in order, and one call at a time.
            write: is tried before ``send`` for bytes that come live; returns False if
                it has written nothing.

        Raises:
            Exception: as the iteration, and whatever ``send`` raises.

        Example::

            async def send(chunk):
                print(chunk)

            await consumer.follow().deliver(send)
        """
        try:
            if self._over is not None:
                self._raise_again(_StreamEnded)
            hub, watch = await self._enter_loop()
            delivery = Delivery(hub, watch, self, send, write)
            self._begin_silence()
            while True:
                at = self.offset
                data = self._look(watch)
                if data:
                    size = len(data)
                    watch.delivered += PIECE + size
                    self.offset += size
                    self.delivered = True
                    await send(data)
                else:
                    await delivery.wait(self._seen, self._wait_s)
                if self._beat_s is not None and self._beats(at):
                    await send(b'')
        except _StreamEnded as ex:
            self._stop(ex)
        except (OffsetLost, FollowCut) as ex:
            self._stop(ex)
            raise
        finally:
            self._leave_hub()

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
        if watch is not None and self._hub is not None and self._process.here:
            self._followers.drop(self._hub, watch, self._counted, self._transport)
