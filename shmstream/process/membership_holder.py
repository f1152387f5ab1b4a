"""Takes the membership of a process, moves it to another slot, and gives it back.

If a later hello of the process gets another slot, the process has another membership
from then on. The hubs and their board, which followers rely on, move to the new slot.
If that fails, the thread of the new doorbell tries it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.segment import Segment
from shmstream.memory.slot_locks import SlotLock
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.blocks import block_of
from shmstream.metrics.counts import Counts
from shmstream.process.membership import Hubs, Membership
from shmstream.process.room_requests import RoomRequests
from shmstream.wakeups.doorbell_greenlet import make_doorbell
from shmstream.wakeups.doorbell_thread import Doorbell
from shmstream.wakeups.hub_in_threads import ThreadHub
from shmstream.wakeups.hub_per_loop import LoopHubs
from shmstream.wakeups.pipe import pipe_path
from shmstream.wakeups.shared_board import Board
from shmstream.weakly import weakly


class MembershipHolder:
    """Holds the present membership of the process, if it has one; thread-safe.

    Args:
        directory: the runtime directory.
        on_wake: called by the doorbell's thread; see ``Doorbell``.
        room_requests: asks the supervisor for room.
        counts: counts in the block of the slot.

    Attributes:
        now: the membership; None if there is none yet, or none any more.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        on_wake: Callable[[bool], float],
        room_requests: RoomRequests,
        counts: Counts,
    ) -> None:
        self._counts = counts
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
                if before is None or before.lock is not lock:
                    # The block before is left alone before its slot is given back.
                    block = block_of(self._directory.metrics, slot, epoch)
                    self._counts.use(block)
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
        board = Board(table, slot, epoch, self._counts)
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
            self._counts.use(None)
            for membership in (now, *now.all_before()):
                membership.lock.release()

    def abandon(self) -> None:
        """Forget the membership after a fork: it is the parent's."""
        # Another thread of the parent may have held the lock.
        self._lock = threading.RLock()
        self._moving = threading.RLock()
        self._counts.forget()
        if self.now is not None:
            self.now.hubs.loops.abandon()
            # ``memory.slot_locks`` has closed the child's copy of the slot's lock.
            self.now = None
