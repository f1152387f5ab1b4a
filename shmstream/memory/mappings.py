"""The mapped segments of one process: each is mapped once, and shared by all its users.

A mapping lives as long as somebody uses it, and a little longer where memory is free:
mapping a segment costs more than reading it, and a reader often comes back.
"""

from __future__ import annotations

import io
import os
import resource
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from shmstream.errors import StreamNotFound
from shmstream.memory.reservation import no_room
from shmstream.memory.segment import Segment, hold, open_segment

_RECENT_S = 1.0
"""A mapping that nobody uses is kept for one to two times this long."""

_MAX_RECENT = 64
"""At most this many mappings that nobody uses are kept."""

_LOOKS = 3
"""How often a name is looked up, at most: its file may go or change in between."""


class Mappings:
    """Maps segments, each once. Thread-safe.

    Args:
        sessions: the folder of segments.
        room: returns the bytes that all segments may still take, as last published.
    """

    def __init__(self, sessions: Path, room: Callable[[], int]) -> None:
        # A string, because joining ``Path`` objects costs too much for every request.
        self._sessions = str(sessions)
        self._room = room
        self._lock = threading.RLock()
        self._segments: weakref.WeakValueDictionary[tuple[int, int], Segment] = (
            weakref.WeakValueDictionary()
        )
        self._recent: dict[Segment, None] = {}
        self._older: dict[Segment, None] = {}
        self._turn_at = 0.0
        # Each mapping may keep a descriptor.
        few = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16
        self._max_recent = min(_MAX_RECENT, few)

    def attach(self, digest: str) -> Segment:
        """Return the segment with this digest.

        Raises:
            StreamNotFound, LayoutMismatch: as ``Segment.attach``.
        """
        path = f'{self._sessions}/{digest}'
        for _ in range(_LOOKS):
            segment = self._look_up(path)
            # The inode number that was looked up may belong to another session's file
            # by now: many file systems reuse inode numbers at once. And a segment that
            # was evicted since may have a successor, which has its name by now.
            if segment is not None and segment.digest == digest and not segment.evicted:
                break
        else:
            raise StreamNotFound('stream not found or expired')
        # An evicted segment gives its memory back when its last mapping goes. So where
        # memory is short, no unused mapping is kept.
        if (
            segment not in self._recent
            and len(self._recent) < self._max_recent
            and self._room() >= _MAX_RECENT * segment.capacity
        ):
            self._recent[segment] = None
        return segment

    def _look_up(self, path: str) -> Segment | None:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            raise StreamNotFound('stream not found or expired') from None
        segment = self._segments.get((found.st_dev, found.st_ino))
        if segment is not None:
            return segment
        fd = open_segment(path)
        try:
            segment = self.share(fd)
            # A segment without a name has been evicted or replaced; another look may
            # find its replacement.
            return segment if os.fstat(fd).st_nlink else None
        except StreamNotFound:
            return None
        finally:
            os.close(fd)

    def share(self, fd: int) -> Segment:
        """Return the mapping of this descriptor's segment; map it if it is not mapped.

        Raises:
            StreamNotFound: the segment is just being removed.
            LayoutMismatch: as ``Segment.attach``.
        """
        hold(fd)
        # No other file has the inode number of a file that is open or mapped.
        found = os.fstat(fd)
        identity = (found.st_dev, found.st_ino)
        with self._lock:
            segment = self._segments.get(identity)
            if segment is None:
                segment = self._segments[identity] = Segment.adopt(fd)
        return segment

    def share_locked(self, fd: int) -> Segment:
        """As ``share``, for the descriptor that holds the segment's lock.

        The segment is mapped through an open file description of its own: a mapping
        keeps its description, in forked children too, and only the producer's own
        descriptor may keep the lock.

        Raises:
            NoRoom: this process has no descriptor or no mapping left.
        """
        try:
            with io.FileIO(f'/proc/self/fd/{fd}', 'r+') as unlocked:
                return self.share(unlocked.fileno())
        except OSError as ex:
            raise no_room(ex) from ex

    def everything(self) -> list[Segment]:
        """All mapped segments."""
        with self._lock:
            return list(self._segments.values())

    def forget_unused(self, now: float) -> None:
        """Drop the unused mappings whose time is over; called regularly by one thread.

        Args:
            now: seconds on the monotonic clock.
        """
        if now >= self._turn_at:
            self._turn_at = now + _RECENT_S
            self._older, self._recent = self._recent, {}
        # Evicted segments are dropped at once: they must give their memory back.
        for kept in (self._recent, self._older):
            for segment in [s for s in list(kept) if s.evicted]:
                kept.pop(segment, None)

    def clear(self) -> None:
        """Drop all unused mappings."""
        self._recent.clear()
        self._older.clear()
