"""A process's membership of the deployment: a slot, and all that comes with it.

The supervisor gives a slot at the first greeting. A ``Membership`` is whole or not
there: with the slot it has the doorbell, which everybody else rings and which has its
thread from then on, the bells of the others, and its share of the memory.

A process that was away for too long is greeted with another slot, and has another
membership from then on. What followers hold on to (the hubs and their board) moves
there.
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
    """Where those wait who follow; they outlast a membership.

    Attributes:
        board: where others mark what they have written.
        threads: the hub of those who follow in threads.
        loops: the hubs of those who follow on event loops.
    """

    board: Board
    threads: ThreadHub
    loops: LoopHubs


class Membership:
    """One slot and all that comes with it. Made by ``MembershipHolder.take``.

    Args:
        slot: the number of the slot.
        epoch: the epoch that goes with it.
        table: the worker table.
        lock: the hold on the slot.
        doorbell: by which others ring this process.
        hubs: of those who follow here.
        want_room: has the supervisor asked for room; does not wait.

    Attributes:
        bells: by which it rings others.
        room: its share of the memory.
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
    ) -> None:
        self.slot = slot
        self.epoch = epoch
        self.table = table
        self.lock = lock
        self.doorbell = doorbell
        self.hubs = hubs
        self.bells = Bells(table, (slot, epoch), hubs.board.mark_here)
        self.room = RoomShare(table, want_room)
        self._cancels = table.cancels(slot)
        self._looks = table.looks(slot)

    @property
    def alive(self) -> bool:
        """Whether the thread that goes with it runs; else it has to be taken anew."""
        return self.doorbell.alive

    def is_at(self, slot: int, epoch: int) -> bool:
        """Whether it is the membership of this slot, and alive."""
        return (slot, epoch) == (self.slot, self.epoch) and self.alive

    def ring(self) -> None:
        """Have the doorbell's thread look around."""
        # By itself it does so before it waits again.
        if not self.doorbell.current:
            self.doorbell.ring()

    def news(self) -> tuple[bool, bool]:
        """Whether there are, since the last time, cancels, and a reason to look."""
        cancels, looks = self.table.cancels(self.slot), self.table.looks(self.slot)
        found = cancels != self._cancels, looks != self._looks
        self._cancels, self._looks = cancels, looks
        return found


class MembershipHolder:
    """The membership that the process has now, if it has one; thread-safe.

    Args:
        directory: the runtime directory.
        on_wake: what the doorbell's thread does; see ``Doorbell``.
        room_requests: has the supervisor asked for room.

    Attributes:
        now: the membership; None: none yet, or none any more.
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
        """Take this slot, and give back the one that the process had.

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
        before: Membership | None = None
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
                    slot, epoch, table, lock, doorbell, hubs, want_room
                )
            if before is not None:
                # We were away too long, and are somebody else to the new supervisor.
                before.doorbell.stop()
                hubs.board.move(table, slot, epoch)
                hubs.loops.move(pipe_path(table, epoch))
                for segment in mapped():
                    segment.followers.add(slot, epoch, 0)
        except BaseException:
            # Greeted anew, we begin anew: a membership without its thread is not alive.
            if doorbell is not None:
                doorbell.stop()
            if before is not None:
                before.doorbell.stop()
            if self.now is None or lock is not self.now.lock:
                lock.release()
            raise
        if before is not None and before.lock is not lock:
            # Last: until here, words of that slot have been written.
            before.lock.release()

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
        """Have the doorbell's thread look around, if there is one."""
        now = self.now
        if now is not None:
            now.ring()

    @property
    def free_bytes(self) -> int:
        """Bytes that all segments may still take, as far as it is known."""
        return 0 if self.now is None else self.now.table.room

    def stop(self) -> None:
        """End the doorbell's thread, and take no slot any more."""
        with self._lock:
            self._left = True
        if self.now is not None:
            self.now.doorbell.stop()

    def leave(self) -> None:
        """Give the slot back; after ``stop``."""
        now = self.now
        if now is not None:
            now.bells.close()
            now.hubs.loops.close()
            self.now = None
            now.lock.release()

    def abandon(self) -> None:
        """Forget the membership after a fork: it is the parent's."""
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        if self.now is not None:
            self.now.hubs.loops.abandon()
            # ``memory.slot_locks`` has closed our copy of the slot's lock.
            self.now = None
