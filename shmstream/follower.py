"""The live reading end of a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Self

from shmstream.errors import FollowCut, LocalError
from shmstream.memory.segment import Segment
from shmstream.wakeups.hub import Watch
from shmstream.wakeups.loop import LoopHub
from shmstream.wakeups.push import Delivery, Send, Write
from shmstream.wakeups.threads import ThreadHub

if TYPE_CHECKING:
    from shmstream.runtime import Runtime

CANCEL_GRACE_S = 0.5
"""How long the producer of a cancelled stream has to say that it has stopped."""

_CANCEL_LOOK_S = 0.1


class Follower:
    """Iterates over a stream's bytes, in a thread or on an event loop, not both.

    On an event loop ``deliver`` does the same for less.

    Takes nothing before its first step: one that is never iterated needs no ``close``.
    Ends at the stream's end.

    Attributes:
        offset: the next byte that it will deliver. After an exception: where to resume.
        delivered: whether it has delivered any.

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
        self.delivered = False
        self._watch: Watch | None = None
        self._hub: LoopHub | ThreadHub | None = None
        self._seen = b''
        self._cancel_seen_at: float | None = None
        self._done = False

    def _step(self, watch: Watch) -> bytes | None:
        """Return bytes, or b'' at the end, or None: wait for the header to change."""
        leave = self._leave is not None and self._leave()
        if leave and self.delivered:
            raise FollowCut(self.offset, 'this worker is leaving')
        reader = watch.reader
        # In this order: a change after any of them shows in the next snapshot, and a
        # state that is final before head is read makes head final.
        self._seen = reader.snapshot()
        final = reader.producer_state.final
        data = watch.read(self.offset)
        if data:
            self.offset += len(data)
            self.delivered = True
            return data
        if final:
            return b''
        if leave:
            raise FollowCut(self.offset, 'this worker is leaving')
        if self._runtime.closed:
            raise FollowCut(self.offset, 'this process has left')
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

    async def _enter_loop(self) -> tuple[LoopHub, Watch]:
        if self._watch is None:
            self._enter(await self._runtime.loop_hub())
        hub, watch = self._hub, self._watch
        if watch is None or not isinstance(hub, LoopHub):
            raise LocalError('this follower is iterated in a thread')
        return hub, watch

    async def __anext__(self) -> bytes:
        if self._done:
            raise StopAsyncIteration
        try:
            hub, watch = await self._enter_loop()
            while (data := self._step(watch)) is None:
                await hub.wait(watch, self._seen, self._wait_s)
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise StopAsyncIteration
        return data

    async def deliver(self, send: Send, write: Write | None = None) -> None:
        """Send all that is left, until the stream's end; then close.

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
        if self._done:
            return
        try:
            hub, watch = await self._enter_loop()
            delivery = Delivery(hub, watch, self, send, write)
            while (data := self._step(watch)) != b'':
                if data is None:
                    await delivery.wait(self._seen, self._wait_s)
                else:
                    await send(data)
        finally:
            self.close()

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
