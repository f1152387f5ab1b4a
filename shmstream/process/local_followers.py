"""Who follows streams in this process: where they wait, and how many there are."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable

from shmstream.memory.segment import Segment
from shmstream.process.membership import MembershipHolder
from shmstream.wakeups.hub_in_threads import ThreadHub
from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_watch import Watch

Hub = LoopHub | ThreadHub


class LocalFollowers:
    """The followers of one process; thread-safe.

    Args:
        holder: the process's membership.
        connect: sees to it that there is one.
        later: has the doorbell's thread do something.

    Attributes:
        number: how many there are.
    """

    def __init__(
        self,
        holder: MembershipHolder,
        connect: Callable[[], None],
        later: Callable[[Callable[[], object]], None],
    ) -> None:
        self._holder = holder
        self._connect = connect
        self._later = later
        self.number = 0
        self._lock = threading.RLock()

    def thread_hub(self) -> ThreadHub:
        """Return the hub of all threads.

        Raises:
            SupervisorUnavailable: as ``SupervisorLink.connect``, or it has left.
        """
        self._connect()
        return self._holder.require().hubs.threads

    async def loop_hub(self) -> LoopHub:
        """Return the hub of the running event loop; raises as ``thread_hub``."""
        if not self._holder.there:
            await asyncio.to_thread(self._connect)
        return self._holder.require().hubs.loops.of(asyncio.get_running_loop())

    def count(self, segment: Segment, step: int) -> None:
        """One follower more or less of this segment in this process: publish it."""
        with self._lock:
            self.number += step
        now = self._holder.now
        # Who has left counts for nothing any more.
        if now is not None:
            segment.followers.add(now.slot, now.epoch, step)

    def everywhere(self, segment: Segment) -> int:
        """Followers of a segment in all live workers; 0 once this process has left."""
        now = self._holder.now
        return 0 if now is None else segment.followers.everywhere(now.table.epoch)

    def drop(self, hub: Hub, watch: Watch, counted: bool) -> None:
        """A follower was dropped without ``close``; from a ``__del__``."""
        self._later(functools.partial(self._forget, hub, watch, counted))

    def _forget(self, hub: Hub, watch: Watch, counted: bool) -> None:
        if counted:
            self.count(watch.segment, -1)
        hub.leave_later(watch)

    def wake_everybody(self) -> None:
        """Have all followers look around: those of one attachment are to leave."""
        now = self._holder.now
        if now is not None:
            now.hubs.loops.look_soon(False, True)
            # Not here: what a step says of the next is for the thread that steps.
            self._later(functools.partial(now.hubs.threads.look, everybody=True))

    def abandon(self) -> None:
        """Forget after a fork who may have held the lock: a thread of the parent."""
        self._lock = threading.RLock()
