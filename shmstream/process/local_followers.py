"""The followers of this process: the hubs that they wait on, and their number."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable

from shmstream.memory.segment import Segment
from shmstream.metrics.catalogue import TRANSPORTS
from shmstream.process.membership_holder import MembershipHolder
from shmstream.wakeups.hub_in_threads import ThreadHub
from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_watch import Watch

Hub = LoopHub | ThreadHub


class LocalFollowers:
    """The followers of one process; thread-safe.

    Args:
        holder: holds the process's membership.
        connect: gets a membership if there is none.
        later: makes the doorbell's thread run an action.

    Attributes:
        number: the number of followers.
        by_transport: the same by transport (``metrics.catalogue.TRANSPORTS``).
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
        self.by_transport = [0] * len(TRANSPORTS)
        self._lock = threading.RLock()

    def thread_hub(self) -> ThreadHub:
        """Return the hub of all threads.

        Raises:
            SupervisorUnavailable: as ``SupervisorLink.connect``, or because the process
                has left.
        """
        self._connect()
        return self._holder.require().hubs.threads

    async def loop_hub(self) -> LoopHub:
        """Return the hub of the running event loop; raises as ``thread_hub``."""
        if not self._holder.there:
            await asyncio.to_thread(self._connect)
        return self._holder.require().hubs.loops.of(asyncio.get_running_loop())

    def count(self, segment: Segment, step: int, transport: int = 0) -> None:
        """Count one follower of this segment more or less, and publish the count.

        Args:
            segment: the segment.
            step: 1 or -1.
            transport: index of the follower's transport.
        """
        with self._lock:
            self.number += step
            self.by_transport[transport] += step
        now = self._holder.now
        # Without a membership there is no word to publish it in.
        if now is not None:
            segment.followers.add(now.slot, now.epoch, step)

    def serve(self, segment: Segment, resumed: bool) -> None:
        """Count a follower that begins, for the line about the stream's life.

        Args:
            segment: the segment.
            resumed: whether the follower begins after the stream's beginning.
        """
        now = self._holder.now
        if now is not None:
            segment.followers.serve(now.slot, resumed)

    def everywhere(self, segment: Segment) -> int:
        """Followers of a segment in all live workers; 0 once this process has left."""
        now = self._holder.now
        return 0 if now is None else segment.followers.everywhere(now.table.epoch)

    def drop(self, hub: Hub, watch: Watch, counted: bool, transport: int) -> None:
        """Forget a follower that was dropped without ``close``; ``__del__`` calls this.

        Args:
            hub: the hub of the follower.
            watch: the watch of the follower's segment.
            counted: whether ``count`` has counted it.
            transport: as for ``count``.
        """
        self._later(functools.partial(self._forget, hub, watch, counted, transport))

    def _forget(self, hub: Hub, watch: Watch, counted: bool, transport: int) -> None:
        if counted:
            self.count(watch.segment, -1, transport)
        hub.leave_later(watch)

    def wake_everybody(self) -> None:
        """Wake all followers, so that those of a closed attachment leave."""
        now = self._holder.now
        if now is not None:
            now.hubs.loops.look_soon(False, True)
            # The doorbell's thread looks itself, because it has to know when the next
            # look is due.
            self._later(functools.partial(now.hubs.threads.look, everybody=True))

    def abandon(self) -> None:
        """Replace the lock after a fork: a thread of the parent may have held it."""
        self._lock = threading.RLock()
