"""Producers and a process that follows, step by step in one thread."""

from __future__ import annotations

import os
from collections.abc import Callable

from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.ring import RingWriter
from shmstream.wakeups.hub_pace import QUIET_TICKS, FollowHub
from shmstream.wakeups.hub_watch import Watch
from shmstream.wakeups.producer_side import Marker
from shmstream.wakeups.ring_others import Bells
from shmstream.wakeups.shared_board import Board

SLOT = 5
EPOCH = 0x1234_5678_9AB0_0001


class NotedBells(Bells):
    """Rings nobody, and notes who was rung."""

    def __init__(
        self,
        table: WorkerTable,
        own: tuple[int, int] | None = None,
        mark_here: Callable[[int], None] = lambda place: None,
    ) -> None:
        super().__init__(table, own, mark_here)
        self.posted: list[int] = []

    def ring(self, slot: int, nap: int = 0) -> None:
        """Note it."""
        self.posted.append(slot)

    def take(self) -> list[int]:
        """Who was rung since the last time."""
        posted, self.posted = self.posted, []
        return posted


class Stream:
    """Its producer, as far as wake-ups go."""

    def __init__(self, segment: Segment, bells: NotedBells) -> None:
        self.segment = segment
        self.writer = RingWriter(segment.view)
        self.marker = Marker(segment, bells)
        self.bells = bells

    def write(self, chunk: bytes = b'x') -> list[int]:
        """Append, and return whom it rang."""
        self.writer.append(chunk)
        self.marker.mark(self.writer.head)
        self.marker.ring()
        return self.bells.take()


def hire(table: WorkerTable, slot: int = SLOT, epoch: int = EPOCH) -> Board:
    """A worker takes a slot; returns its board."""
    table.take(slot, epoch, os.getpid())
    return Board(table, slot, epoch)


class Watcher:
    """Whoever is watcher that its segment may have changed: counts."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.times = 0

    def mark(self, here: bool = False) -> bool:
        """Count."""
        self.times += 1
        return True

    def take(self) -> int:
        """How often since the last time."""
        times, self.times = self.times, 0
        return times


def entered(board: Board, stream: Stream) -> Watcher:
    """Somebody follows the stream from now on."""
    watcher = Watcher(stream.segment)
    board.enter(watcher)
    return watcher


def nap(table: WorkerTable, slot: int = SLOT) -> int:
    """The word that says whether a worker naps."""
    word: int = table.words[table.nap_at(slot)]
    return word


class Waiter:
    """Whoever waits for a segment: counts."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        """Count."""
        self.woken += 1


class Hub(FollowHub):
    """A hub whose driver has to be told; ``turn`` does what a driver does then."""

    def __init__(self, board: Board, eager: bool = False) -> None:
        note_here = (lambda watch: self._note()) if eager else None
        super().__init__(board, self._note, note_here)
        self.looks_asked_for = 0
        self._now = 0.0

    def _note(self) -> None:
        self.looks_asked_for += 1

    def turn(self, busy: bool = True) -> None:
        """Look, if it has been asked to.

        Args:
            busy: soon after the hub was rung for the last time: it stays awake.
        """
        if self.looks_asked_for:
            self.looks_asked_for = 0
            if busy:
                self._rung_at = self._now
            else:
                self._now += 1
            self.look(self._now)

    def begin(self, watch: Watch) -> Waiter:
        """Somebody begins to wait for what comes next."""
        waiter = Waiter()
        self.wait(watch, watch.reader.snapshot(), waiter)
        return waiter

    def rest(self) -> None:
        """Tick until it sleeps; with nothing to see that takes no more than this."""
        for _ in range(QUIET_TICKS):
            if self.awake:
                self.tick()
