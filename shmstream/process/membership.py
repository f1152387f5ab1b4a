"""A process's membership of the deployment: a slot, and all that comes with it.

The supervisor gives a slot when the process first says hello. A ``Membership`` is
complete or absent: it has the slot, the doorbell that others ring, with its thread, the
bells of other processes, and a share of the memory.

If a later hello of the process gets another slot, the process has another membership
from then on. The hubs and their board, which followers rely on, move to the new slot.
If that fails, the thread of the new doorbell tries it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.room_share import RoomShare
from shmstream.memory.segment import Segment
from shmstream.memory.slot_locks import SlotLock
from shmstream.memory.worker_table import WorkerTable
from shmstream.process.room_requests import RoomRequests
from shmstream.wakeups.doorbell_greenlet import make_doorbell
from shmstream.wakeups.doorbell_thread import Doorbell
from shmstream.wakeups.hub_in_threads import ThreadHub
from shmstream.wakeups.hub_per_loop import LoopHubs
from shmstream.wakeups.pipe import pipe_path
from shmstream.wakeups.ring_others import Bells
from shmstream.wakeups.shared_board import Board
from shmstream.weakly import weakly


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
        self.bells = Bells(table, (slot, epoch), hubs.board.mark_here)
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


class MembershipHolder:
    """Holds the present membership of the process, if it has one; thread-safe.

    Args:
        directory: the runtime directory.
        on_wake: called by the doorbell's thread; see ``Doorbell``.
        room_requests: asks the supervisor for room.

    Attributes:
        now: the membership; None if there is none yet, or none any more.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        on_wake: Callable[[bool], float],
        room_requests: RoomRequests,
    ) -> None:
        self._directory = directory
        self._on_wake = on_wake
        self._room_requests = room_requests
        self.now: Membership | None = None
        self._left = False
        self._lock = threading.RLock()
        self._moving = threading.RLock()

    @property
    def there(self) -> bool:
        """Whether there is a membership, and it is alive."""
        return self.now is not None and self.now.alive

    def require(self) -> Membership:
        """Return the membership.

        Raises:
            SupervisorUnavailable: this process has left.
        """
        if self.now is None:
            raise SupervisorUnavailable('this process has left')
        return self.now

    def take(
        self, slot: int, epoch: int, mapped: Callable[[], Iterable[Segment]]
    ) -> None:
        """Take this slot, and give back the slot that the process had.

        Args:
            slot: the slot that the supervisor has given.
            epoch: the epoch that the supervisor has given with it.
            mapped: returns the segments that are mapped here.

        Raises:
            OSError: the slot was taken back meanwhile, or a file, semaphore or pipe
                cannot be opened.
            LayoutMismatch: the worker table is of another version.
            SupervisorUnavailable: this process has left meanwhile.
            LocalError: no doorbell can wait in the threads of this process.
            Whatever a move raises, after the process has taken the slot.
        """
        # All steps that a membership needs come first, because half a membership would
        # leave followers asleep.
        table = WorkerTable.attach(self._directory.table)
        lock = self._lock_slot(table, slot, epoch)
        doorbell: Doorbell | None = None
        try:
            doorbell = make_doorbell(table, epoch, self._on_wake)
            doorbell.start()
            with self._lock:
                if self._left:
                    raise SupervisorUnavailable('this process has left')
                before = self.now
                if before is None:
                    hubs = self._open_hubs(table, slot, epoch, doorbell.by_pipe)
                else:
                    hubs = before.hubs
                want_room = weakly(self._want_room, None)
                self.now = Membership(
                    slot, epoch, table, lock, doorbell, hubs, want_room, before
                )
        except BaseException:
            now = self.now
            if doorbell is not None and (now is None or doorbell is not now.doorbell):
                # The process keeps the membership that it had. The thread of that
                # membership makes the process say hello again.
                doorbell.stop()
            if now is None or lock is not now.lock:
                lock.release()
            raise
        # If this fails, the thread of the new doorbell goes on with it.
        with self._moving:
            self._move(mapped)

    def go_on_moving(self, mapped: Callable[[], Iterable[Segment]]) -> None:
        """Move all that is still at the slot before; for the doorbell's thread.

        Does nothing while another thread moves: that thread may wait for this one.

        Args:
            mapped: as for ``take``.
        """
        now = self.now
        # A thread of a membership before is about to be stopped.
        if now is None or now.before is None or not now.doorbell.current:
            return
        if self._moving.acquire(blocking=False):
            try:
                self._move(mapped)
            finally:
                self._moving.release()

    def _move(self, mapped: Callable[[], Iterable[Segment]]) -> None:
        """Move all to the present slot; can be repeated if it fails midway."""
        now = self.now
        if now is None or now.before is None:
            return
        all_before = now.all_before()
        for before in all_before:
            before.doorbell.stop()
        now.hubs.board.move(now.table, now.slot, now.epoch)
        now.hubs.loops.move(pipe_path(now.table, now.epoch))
        for segment in mapped():
            segment.followers.add(now.slot, now.epoch, 0)
        # The old slots are released last, because until here this process has written
        # words of those slots.
        for before in all_before:
            if before.lock is not now.lock:
                before.lock.release()
        now.before = None

    def _open_hubs(
        self, table: WorkerTable, slot: int, epoch: int, by_pipe: bool
    ) -> Hubs:
        board = Board(table, slot, epoch)
        pipe = None if by_pipe else pipe_path(table, epoch)
        return Hubs(
            board,
            ThreadHub(board, weakly(self.ring, None), by_pipe),
            LoopHubs(board, pipe),
        )

    def _lock_slot(self, table: WorkerTable, slot: int, epoch: int) -> SlotLock:
        now = self.now
        if now is not None and now.lock.place == (table.identity, slot, epoch):
            return now.lock
        return SlotLock(self._directory.table, table, slot, epoch)

    def _want_room(self) -> None:
        self._room_requests.wanted = True
        self.ring()

    def ring(self) -> None:
        """Make the doorbell's thread do its chores soon, if there is a membership."""
        now = self.now
        if now is not None:
            now.ring()

    @property
    def free_bytes(self) -> int:
        """Bytes that all segments may still take, as last published; 0 if unknown."""
        return 0 if self.now is None else self.now.table.room

    def stop(self) -> None:
        """End the doorbell's thread, and take no slot any more."""
        with self._lock:
            self._left = True
        now = self.now
        if now is not None:
            for membership in (now, *now.all_before()):
                membership.doorbell.stop()

    def leave(self) -> None:
        """Give the slot back; after ``stop``."""
        now = self.now
        if now is not None:
            now.bells.close()
            now.hubs.loops.close()
            self.now = None
            for membership in (now, *now.all_before()):
                membership.lock.release()

    def abandon(self) -> None:
        """Forget the membership after a fork: it is the parent's."""
        # Another thread of the parent may have held the lock.
        self._lock = threading.RLock()
        self._moving = threading.RLock()
        if self.now is not None:
            self.now.hubs.loops.abandon()
            # ``memory.slot_locks`` has closed the child's copy of the slot's lock.
            self.now = None
