"""The live reading end of a stream."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NoReturn, Self

from shmstream.errors import FollowCut, LocalError, OffsetLost, ShmstreamError
from shmstream.memory.segment import Segment
from shmstream.process.attachment import Attachment
from shmstream.ring.state import State
from shmstream.wakeups.hub_delivery import Delivery, Send, Write
from shmstream.wakeups.hub_in_threads import ThreadHub
from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_watch import Watch

CANCEL_GRACE_S = 0.5
"""How long the producer of a cancelled stream has to say that it has stopped."""

_CANCEL_LOOK_S = 0.1


class _StreamEnded(Exception):
    """The follower has come to the stream's end: no exception that callers see."""


class Follower:
    """Iterates over a stream's bytes, in a thread or on an event loop, not both.

    On an event loop ``deliver`` does the same for less.

    Takes nothing before its first step: one that is never iterated needs no ``close``.
    Ends at the stream's end, and never says so of anything else. A step that is
    cancelled, times out or is interrupted has taken no byte: the next one goes on at
    ``offset``. Until the end, or ``close``, it is counted.

    Attributes:
        offset: the next byte that it will deliver. After an exception: where to resume.
        delivered: whether it has delivered any.

    Raises (from the iteration):
        OffsetLost: the ring overtook it; it never skips. And again at every step.
        FollowCut: it was let go before the end. And again at every step.
        LocalError: it has been closed before the end, or is iterated in both ways.
    """

    def __init__(
        self,
        attachment: Attachment,
        segment: Segment,
        offset: int,
        leave: Callable[[], bool] | None,
    ) -> None:
        self._attachment = attachment
        self._process = attachment.process
        self._followers = attachment.process.followers
        self._segment = segment
        self.offset = offset
        self._leave = leave
        self.delivered = False
        self._watch: Watch | None = None
        self._hub: LoopHub | ThreadHub | None = None
        self._seen = b''
        self._cancel_seen_at: float | None = None
        self._counted = False
        # Why it goes on no more: the stream's end, or what every further step raises.
        self._over: _StreamEnded | ShmstreamError | None = None

    @property
    def untold_failure(self) -> str:
        """Why the stream has failed, if its bytes do not tell it; else empty."""
        aborted = self._segment.reader.producer_state is State.ABORTED
        return self._segment.failure if aborted else ''

    def _look(self, watch: Watch) -> bytes:
        """Return what there is; nothing: wait until the header is not ``_seen``.

        Raises:
            _StreamEnded: all has been delivered.
            OffsetLost, FollowCut: as the iteration.
        """
        leave = self._leave is not None and self._leave()
        # A request that comes while the worker leaves is not in vain: what is there
        # already is delivered, once.
        if leave and self.delivered:
            raise FollowCut(self.offset, 'this worker is leaving')
        reader = watch.reader
        # In this order: a change after any of them shows in the next snapshot, and a
        # state that is final before head is read makes head final.
        self._seen = reader.snapshot()
        final = reader.producer_state.final
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
                raise FollowCut(self.offset, 'cancelled, and its producer is silent')
        return data

    @property
    def _wait_s(self) -> float | None:
        return None if self._cancel_seen_at is None else _CANCEL_LOOK_S

    def _enter(self, hub: LoopHub | ThreadHub) -> Watch:
        # By C code into the lists: what a handler raises as these return is told from
        # what it raises before, and undoes no more than has been done.
        joined: list[Watch] = []
        counted: list[None] = []
        try:
            joined.extend(map(hub.join, (self._segment,)))
            counted.extend(map(self._followers.count, (self._segment,), (1,)))
            self._hub, self._watch, self._counted = hub, joined[0], True
            return joined[0]
        except BaseException:
            self._watch, self._counted = None, False
            try:
                if counted:
                    self._followers.count(self._segment, -1)
            finally:
                if joined:
                    hub.leave(joined[0])
            raise

    def close(self) -> None:
        """Let go of the stream. Idempotent; the end does it as well.

        Before the end it is no end: iterating raises ``LocalError`` from now on.
        """
        if self._over is None:
            self._stop(LocalError(f'this follower was closed at offset {self.offset}'))
        self._leave_hub()

    def _stop(self, why: _StreamEnded | ShmstreamError) -> None:
        # A copy: one that has been raised would keep the frames that it came through.
        self._over = copy.copy(why)
        self._leave_hub()

    def _raise_again(self, at_the_end: type[Exception]) -> NoReturn:
        """Raise what every step raises once it goes on no more."""
        if self._over is None or isinstance(self._over, _StreamEnded):
            raise at_the_end
        raise copy.copy(self._over)

    def _leave_hub(self) -> None:
        # A forked child's copy is not counted, nor is it in a hub.
        if self._watch is None or self._hub is None or not self._process.here:
            self._watch = None
            return
        try:
            if self._counted:
                self._counted = False
                self._followers.count(self._segment, -1)
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
            while not (data := self._look(watch)):
                hub.wait(watch, self._seen, self._wait_s)
        except (OffsetLost, FollowCut) as ex:
            self._stop(ex)
            raise
        except _StreamEnded as ex:
            self._stop(ex)
            raise StopIteration from None
        # Last of all: what is interrupted before has taken nothing, and CPython looks
        # for signals after a call and not between these.
        self.delivered = True
        self.offset += len(data)
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
                # It has been on a loop that is closed by now, perhaps.
                counted, self._watch, self._counted = self._counted, None, False
                self._followers.drop(hub, watch, counted)
            hub, watch = there, self._enter(there)
        return hub, watch

    async def __anext__(self) -> bytes:
        if self._over is not None:
            self._raise_again(StopAsyncIteration)
        try:
            hub, watch = await self._enter_loop()
            while not (data := self._look(watch)):
                await hub.wait(watch, self._seen, self._wait_s)
        except (OffsetLost, FollowCut) as ex:
            self._stop(ex)
            raise
        except _StreamEnded as ex:
            self._stop(ex)
            raise StopAsyncIteration from None
        # Nothing is awaited from here on: whoever cancels comes before or too late.
        self.delivered = True
        self.offset += len(data)
        return data

    async def deliver(self, send: Send, write: Write | None = None) -> None:
        """Send all that is left, until the stream's end.

        What has been handed to ``send`` counts as delivered, also if that raises or is
        cancelled, and is handed over once. However it is left, nobody is counted any
        more; called again, it goes on at ``offset``.

        At the live edge ``send`` is called from the hub's own turn of the loop, outside
        of this task, and stepped once: as long as it has nothing to wait for, a
        delivery costs neither future nor task switch. Once it waits, this task does.
        So ``send`` must not depend on its task (``asyncio.timeout``), and ``leave`` is
        asked when the process is told to leave, not for each delivery.

        Args:
            send: takes the next bytes; in order, and one call at a time.
            write: tried before ``send`` at the live edge; False if it did nothing.

        Raises:
            As the iteration, and whatever ``send`` raises.
        """
        try:
            if self._over is not None:
                self._raise_again(_StreamEnded)
            hub, watch = await self._enter_loop()
            delivery = Delivery(hub, watch, self, send, write)
            while True:
                data = self._look(watch)
                if data:
                    self.offset += len(data)
                    self.delivered = True
                    await send(data)
                else:
                    await delivery.wait(self._seen, self._wait_s)
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
            self._followers.drop(self._hub, watch, self._counted)
