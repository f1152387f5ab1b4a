"""A process's membership of the deployment: a slot, and all that comes with it.

The supervisor gives a slot when the process first says hello. A ``Membership`` is
complete or absent: it has the slot, the doorbell that others ring, with its thread, the
bells of other processes, and a share of the memory. ``membership_holder`` takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shmstream.memory.room_share import RoomShare
from shmstream.memory.slot_locks import SlotLock
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.doorbell_thread import Doorbell
from shmstream.wakeups.hub_in_threads import ThreadHub
from shmstream.wakeups.hub_per_loop import LoopHubs
from shmstream.wakeups.ring_others import Bells
from shmstream.wakeups.shared_board import Board


@dataclass(frozen=True, eq=False)
class Hubs:
    """The hubs that followers wait on; they outlast a membership.

    Attributes:
        board: the board on which producers of other processes leave marks.
        threads: the hub of the followers in threads.
        loops: the hubs of the followers on event loops.
    """

    board: Board
    threads: ThreadHub
    loops: LoopHubs


class Membership:
    """One slot and all that comes with it. Made by ``MembershipHolder.take``.

    Args:
        slot: the number of the slot.
        epoch: the epoch that the supervisor gave with the slot.
        table: the worker table.
        lock: the lock on the slot.
        doorbell: the doorbell by which others ring this process.
        hubs: the hubs of this process.
        want_room: makes another thread ask the supervisor for room; does not wait.
        before: the membership that the process had before.

    Attributes:
        bells: the bells of other processes.
        room: this process's share of the memory.
        before: the membership that the process had before, until all has been moved
            from its slot to this one; None then.
    """

    def __init__(
        self,
        slot: int,
        epoch: int,
        table: WorkerTable,
        lock: SlotLock,
        doorbell: Doorbell,
        hubs: Hubs,
        want_room: Callable[[], None],
        before: Membership | None,
    ) -> None:
        self.slot = slot
        self.epoch = epoch
        self.table = table
        self.lock = lock
        self.doorbell = doorbell
        self.hubs = hubs
        board = hubs.board
        self.bells = Bells(table, (slot, epoch), board.mark_here, board.counts)
        self.room = RoomShare(table, want_room)
        self.before = before
        self._cancels = table.cancels(slot)
        self._looks = table.looks(slot)

    @property
    def alive(self) -> bool:
        """Whether the doorbell's thread runs; if not, the slot has to be taken anew."""
        return self.doorbell.alive

    def is_at(self, slot: int, epoch: int) -> bool:
        """Whether this is the membership of this slot and epoch, and alive."""
        return (slot, epoch) == (self.slot, self.epoch) and self.alive

    def all_before(self) -> list[Membership]:
        """Return the memberships from whose slots not all has been moved yet."""
        found: list[Membership] = []
        before = self.before
        while before is not None:
            found.append(before)
            before = before.before
        return found

    def ring(self) -> None:
        """Make the doorbell's thread do its chores soon."""
        # The thread itself need not ring: it is doing its chores already.
        if not self.doorbell.current:
            self.doorbell.ring()

    def news(self) -> tuple[bool, bool]:
        """Return what is new since the last call.

        Returns:
            Whether a stream of this process was cancelled; whether the supervisor wants
            this process to look at all streams that it follows.
        """
        cancels, looks = self.table.cancels(self.slot), self.table.looks(self.slot)
        found = cancels != self._cancels, looks != self._looks
        self._cancels, self._looks = cancels, looks
        return found
