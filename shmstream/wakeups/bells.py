"""Ringing: post the doorbells of the workers that sleep on a segment."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import posix_ipc

from shmstream.memory.segment import Segment
from shmstream.memory.table import WorkerTable
from shmstream.ring.fence import make_fence
from shmstream.ring.layout import B_ARMED, MAX_SLOTS, W_ARMED


class Bells:
    """The doorbells of all workers, opened at their first ring. Thread-safe."""

    def __init__(self, table: WorkerTable) -> None:
        self._table = table
        self._open: dict[int, tuple[int, posix_ipc.Semaphore]] = {}
        # Held around post as well as close: closing a semaphore under a thread that
        # uses it crashes the process.
        self._lock = threading.Lock()

    def ring(self, slot: int) -> None:
        """Wake the worker in this slot; does nothing if there is none."""
        with self._lock:
            bell = self._bell(slot)
            if bell is None:
                return
            try:
                bell.release()
            except OSError as ex:
                # At SEM_VALUE_MAX it has been ringing for a while.
                if ex.errno != errno.EOVERFLOW:
                    raise

    def _bell(self, slot: int) -> posix_ipc.Semaphore | None:
        epoch = self._table.epoch(slot)
        known = self._open.get(slot)
        if known is not None:
            if known[0] == epoch:
                return known[1]
            known[1].close()
            del self._open[slot]
        if not epoch:
            return None
        try:
            bell = posix_ipc.Semaphore(self._table.semaphore_name(epoch))
        except posix_ipc.ExistentialError:
            return None
        self._open[slot] = (epoch, bell)
        return bell

    def close(self) -> None:
        """Close every semaphore."""
        with self._lock:
            for _, bell in self._open.values():
                bell.close()
            self._open.clear()


class ArmedSlots:
    """What a writer of one segment remembers of its sleepers: one post per arming.

    An armed word is the head that the sleeper has seen, plus one. The writer posts when
    its head is beyond that and it has not posted for this very word yet. Were the word
    a mere sequence number, a post that crosses with an arming would use it up although
    the sleeper had seen the bytes already, and the next bytes would wake nobody.
    """

    def __init__(self, segment: Segment, bells: Bells) -> None:
        self._words = segment.words
        self._armed: Callable[[], bytes] = segment.view[B_ARMED].tobytes
        self._rung = bytes(8 * MAX_SLOTS)
        self._rung_words = [0] * MAX_SLOTS
        self._fence = make_fence()
        self._bells = bells

    def ring(self, head: int) -> None:
        """Wake whoever sleeps on a head below this one, which has been published.

        No system call unless somebody sleeps.
        """
        self._fence()
        armed = self._armed()
        if armed != self._rung:
            self._ring_changed(armed, head)

    def _ring_changed(self, armed: bytes, head: int) -> None:
        self._rung = armed
        for slot in range(MAX_SLOTS):
            # The block copy above may have caught a word half old and half new; the
            # word itself is loaded whole.
            seen = self._words[W_ARMED + slot]
            if seen == self._rung_words[slot]:
                continue
            if seen > head:
                # Has seen these bytes and sleeps on the next: look again then.
                self._rung = b''
                continue
            self._rung_words[slot] = seen
            self._bells.ring(slot)

    def ring_everybody(self) -> None:
        """Wake all who ever armed: something other than the head has changed."""
        self._fence()
        for slot in range(MAX_SLOTS):
            if self._words[W_ARMED + slot]:
                self._bells.ring(slot)
