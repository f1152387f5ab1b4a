"""The mapped segments of one process: one mapping each, however many use it.

A mapping lives as long as somebody uses it, and a little longer where there is room:
mapping a segment costs more than reading it, and who has read it once often comes back.
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
"""A mapping that nobody uses is kept for as long, twice at the most."""

_MAX_RECENT = 64

_LOOKS = 3
"""How often a name is looked up whose file is another one, or goes, each time."""


class Mappings:
    """Maps segments, each once. Thread-safe.

    Args:
        sessions: the folder of segments.
        room: bytes that all segments may still take, as known at the moment.
    """

    def __init__(self, sessions: Path, room: Callable[[], int]) -> None:
        # A string: paths are put together for every request.
        self._sessions = str(sessions)
        self._room = room
        self._lock = threading.RLock()
        self._segments: weakref.WeakValueDictionary[tuple[int, int], Segment] = (
            weakref.WeakValueDictionary()
        )
        self._recent: dict[Segment, None] = {}
        self._older: dict[Segment, None] = {}
        self._turn_at = 0.0
        # Each may keep a descriptor.
        few = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16
        self._max_recent = min(_MAX_RECENT, few)

    def attach(self, digest: str) -> Segment:
        """Return the segment under this name.

        Raises:
            StreamNotFound, LayoutMismatch: as ``Segment.attach``.
        """
        path = f'{self._sessions}/{digest}'
        for _ in range(_LOOKS):
            segment = self._look_up(path)
            # The number that was looked up may have gone to another session's file
            # meanwhile: many file systems use them again at once.
            if segment is not None and segment.digest == digest:
                break
        else:
            raise StreamNotFound('stream not found or expired')
        # What is evicted gives its memory back with its last mapping: where there is
        # little room, nobody may have to wait for that.
        if (
            len(self._recent) < self._max_recent
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
            # One that has no name any more is counted nowhere; where it was there may
            # be its replacement.
            return segment if os.fstat(fd).st_nlink else None
        except StreamNotFound:
            return None
        finally:
            os.close(fd)

    def share(self, fd: int) -> Segment:
        """Return the mapping of this descriptor's segment, made if there is none.

        Raises:
            StreamNotFound: it is just being removed.
            LayoutMismatch: as ``Segment.attach``.
        """
        hold(fd)
        # Neither an open nor a mapped file's number can be another's.
        found = os.fstat(fd)
        identity = (found.st_dev, found.st_ino)
        with self._lock:
            segment = self._segments.get(identity)
            if segment is None:
                segment = self._segments[identity] = Segment.adopt(fd)
        return segment

    def share_locked(self, fd: int) -> Segment:
        """As ``share``, for the descriptor that holds the lock.

        Mapped through a description of its own: a mapping keeps a descriptor, in forked
        children too, and none but the producer's own may keep the lock.

        Raises:
            NoRoom: this process has no descriptor or no mapping left.
        """
        try:
            with io.FileIO(f'/proc/self/fd/{fd}', 'r+') as unlocked:
                return self.share(unlocked.fileno())
        except OSError as ex:
            raise no_room(ex) from ex

    def everything(self) -> list[Segment]:
        """What is mapped."""
        with self._lock:
            return list(self._segments.values())

    def forget_unused(self, now: float) -> None:
        """Let go of what nobody has come back for; now and then, from one thread.

        Args:
            now: the monotonic clock.
        """
        if now >= self._turn_at:
            self._turn_at = now + _RECENT_S
            self._older, self._recent = self._recent, {}
        # What is evicted must give its memory back.
        for kept in (self._recent, self._older):
            for segment in [s for s in list(kept) if s.evicted]:
                kept.pop(segment, None)

    def clear(self) -> None:
        """Keep nothing that is not used."""
        self._recent.clear()
        self._older.clear()
