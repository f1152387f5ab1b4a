"""A process's slot, and all that comes with it.

The supervisor gives a slot at the first greeting; the doorbell, which everybody else
rings, has its thread from then on. A process that was away for too long is greeted with
another slot: what depends on the slot is made anew, and what followers hold on to (the
board, the hubs) moves there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from shmstream.control.asker import Asker
from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.room import Room
from shmstream.memory.segment import Segment
from shmstream.memory.slots import SlotLock
from shmstream.memory.table import WorkerTable
from shmstream.wakeups.bells import Bells
from shmstream.wakeups.board import Board
from shmstream.wakeups.doorbell import Doorbell
from shmstream.wakeups.greenlets import make_doorbell
from shmstream.wakeups.loops import LoopHubs
from shmstream.wakeups.pipe import pipe_path
from shmstream.wakeups.threads import ThreadHub
from shmstream.weakly import weakly


class Seat:
    """Empty at first; ``take`` fills it. Nothing but ``slot`` is there before.

    Args:
        directory: the runtime directory.
        on_wake: what the doorbell's thread does; see ``Doorbell``.
        asker: has the supervisor asked about room.

    Attributes:
        slot: the number of the slot; None: it has none, yet or any more.
        epoch: the epoch that goes with it.
        table: the worker table.
        doorbell: by which others ring this process.
        board: where others mark what they have written.
        thread_hub: of those who follow in threads.
        loop_hubs: of those who follow on event loops.
        bells: by which it rings others.
        room: its share of the memory.
    """

    table: WorkerTable
    doorbell: Doorbell
    board: Board
    thread_hub: ThreadHub
    loop_hubs: LoopHubs
    bells: Bells
    room: Room

    def __init__(
        self,
        directory: RuntimeDirectory,
        on_wake: Callable[[bool], float],
        asker: Asker,
    ) -> None:
        self._directory = directory
        self._on_wake = on_wake
        self._asker = asker
        self.slot: int | None = None
        self.epoch = 0
        self._slot_lock: SlotLock | None = None
        self._left = False
        self._notices = 0
        self._looks = 0
        self._lock = threading.RLock()

    @property
    def whole(self) -> bool:
        """Whether it has a slot, and the thread that goes with it."""
        return self.slot is not None and self.doorbell.alive

    def is_at(self, slot: int, epoch: int) -> bool:
        """Whether this is the slot that it has, and all is there."""
        return (slot, epoch) == (self.slot, self.epoch) and self.whole

    def take(
        self, slot: int, epoch: int, mapped: Callable[[], Iterable[Segment]]
    ) -> None:
        """Take this slot, and give back the one that it had.

        Args:
            slot: the slot that the supervisor has given us.
            epoch: the epoch that goes with it.
            mapped: the segments that are mapped here.

        Raises:
            OSError: the slot was taken back meanwhile, or something cannot be opened.
            SupervisorUnavailable: this process has left meanwhile.
            NoRoom: there is no room for the board.
            LocalError: this process's threads are what no doorbell can wait in.
        """
        # All that can fail comes first: half of it would leave followers asleep.
        table = WorkerTable.attach(self._directory.table)
        lock = self._lock_slot(table, slot, epoch)
        doorbell: Doorbell | None = None
        before: Doorbell | None = None
        try:
            doorbell = make_doorbell(table, epoch, self._on_wake)
            doorbell.start()
            with self._lock:
                if self._left:
                    raise SupervisorUnavailable('this process has left')
                before = self.doorbell if self.slot is not None else None
                if before is None:
                    self._open_hubs(table, slot, epoch, doorbell.by_pipe)
                self.table = table
                self.bells = Bells(table, (slot, epoch), self.board.tell)
                self.room = Room(table, weakly(self._want_room, None))
                self._notices = table.notices(slot)
                self._looks = table.looks(slot)
                self.doorbell = doorbell
                # Last: with a slot, all of it is there, the thread as well.
                had, self._slot_lock = self._slot_lock, lock
                self.epoch = epoch
                self.slot = slot
            if before is not None:
                # We were away too long, and are somebody else to the new supervisor.
                before.stop()
                self.board.move(table, slot, epoch)
                self.loop_hubs.move(pipe_path(table, epoch))
                for segment in mapped():
                    segment.followers.add(slot, epoch, 0)
        except BaseException:
            # Greeted anew, we begin anew: the thread is looked for, not only the slot.
            for bell in (doorbell, before):
                if bell is not None:
                    bell.stop()
            if lock is not self._slot_lock:
                lock.release()
            raise
        if had is not None and had is not lock:
            # Last: until here, words of that slot have been written.
            had.release()

    def _open_hubs(
        self, table: WorkerTable, slot: int, epoch: int, by_pipe: bool
    ) -> None:
        self.board = Board(table, slot, epoch)
        self.thread_hub = ThreadHub(self.board, weakly(self.ring, None), by_pipe)
        pipe = None if by_pipe else pipe_path(table, epoch)
        self.loop_hubs = LoopHubs(self.board, pipe)

    def _lock_slot(self, table: WorkerTable, slot: int, epoch: int) -> SlotLock:
        had = self._slot_lock
        if had is not None and had.place == (table.identity, slot, epoch):
            return had
        return SlotLock(self._directory.table, table, slot, epoch)

    def _want_room(self) -> None:
        self._asker.wanted = True
        self.ring()

    def ring(self) -> None:
        """Have the doorbell's thread look around."""
        # By itself it does so before it waits again.
        if not self.doorbell.current:
            self.doorbell.ring()

    def news(self, slot: int) -> tuple[bool, bool]:
        """Whether we have been told, since the last time, of cancels, and to look."""
        notices, looks = self.table.notices(slot), self.table.looks(slot)
        found = notices != self._notices, looks != self._looks
        self._notices, self._looks = notices, looks
        return found

    @property
    def free_bytes(self) -> int:
        """Bytes that all segments may still take, as far as it is known."""
        return 0 if self.slot is None else self.table.room

    def stop(self) -> None:
        """End the doorbell's thread, and take no slot any more."""
        with self._lock:
            self._left = True
        if self.slot is not None:
            self.doorbell.stop()

    def leave(self) -> None:
        """Give the slot back; after ``stop``."""
        if self.slot is not None:
            self.bells.close()
            self.loop_hubs.close()
            self.slot = None
        if self._slot_lock is not None:
            self._slot_lock.release()
            self._slot_lock = None

    def abandon(self) -> None:
        """Forget it after a fork: it is the parent's."""
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        if self.slot is not None:
            self.loop_hubs.abandon()
        self.slot = None
        # ``memory.slots`` has closed our copy.
        self._slot_lock = None
