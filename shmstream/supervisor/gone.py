"""Gone segments: segments without a session that some process still maps.

A file that is unlinked while it is mapped takes memory that nobody can see. So it gets
another name first, and its bytes are counted until it can be removed::

    evict     if nobody maps it: unlink; else rename to .gone-<generation>
    replace   link to .gone-<generation>, then rename the new segment over the old name
    look      a few times a second: remove the files that nobody maps any more

Each process that maps a segment holds a shared lock on it, through the open file
description that its mapping keeps (``segment.hold``), so the kernel knows of every
mapping, even of a killed process. A file is removed under the exclusive lock: a process
that has opened the file and asks for its shared lock too late is refused, or finds that
the file has no name any more. A descriptor on its way to the producer has no mapping
yet, but it holds the producer's ``flock``.

The supervisor keeps only the names of these files, neither mappings nor descriptors.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.logs.life_line import tell
from shmstream.memory.directory import RuntimeDirectory, discard
from shmstream.memory.segment import Segment, hold_alone, open_segment
from shmstream.metrics.counts import Counts
from shmstream.ring.layout import TOLD, W_CAUSE, WORD
from shmstream.supervisor.finishing import count_end, end_dead
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.session import Session

log = logging.getLogger('shmstream.supervisor')

SOON_S = 1.0
"""Within this time of an eviction, processes drop unused mappings of the segment."""

_LOOKS = 256
"""Files that one ``look`` tries to remove, at the most."""

_BLOCK = 512
"""Bytes of a block of ``st_blocks``."""


class Gone:
    """The files of all gone segments.

    Args:
        directory: the runtime directory.
        counts: the supervisor's own words.

    Attributes:
        counts: the same.
        memory: bytes that the files hold.
    """

    def __init__(self, directory: RuntimeDirectory, counts: Counts) -> None:
        self._directory = directory
        self.counts = counts
        self._held: dict[Path, tuple[bytes, int]] = {}
        self._of_owner: Counter[bytes] = Counter()
        self.memory = 0
        self._newest = -SOON_S

    def __len__(self) -> int:
        return len(self._held)

    @property
    def soon(self) -> bool:
        """Whether the newest file is so new that it may be removable in a moment."""
        return bool(self._held) and time.monotonic() - self._newest < SOON_S

    @property
    def owners(self) -> Collection[bytes]:
        """The owners of all gone segments."""
        return self._of_owner.keys()

    def memory_of(self, owner: bytes) -> int:
        """Bytes that this owner's gone segments hold."""
        return self._of_owner[owner]

    def put(self, session: Session) -> None:
        """Remove the file of an evicted session, or rename it if it is mapped."""
        path = self._directory.segment(session.file)
        if remove(path, self.counts):
            return
        aside = self._directory.gone(session.segment.generation)
        os.rename(path, aside)
        self.keep(aside, session.key[0])

    def link(self, session: Session, aside: Path | None = None) -> Path | None:
        """Give the file of a session that will be replaced its second name.

        Args:
            session: the session.
            aside: the path of the second name; None for a name of the form .gone-*.

        Returns:
            The second name, for ``keep`` once it is the only one; None if the file has
            been removed.

        Raises:
            OSError: there is no room for another name, which costs an inode on tmpfs.
        """
        path = self._directory.segment(session.digest)
        aside = aside or self._directory.gone(session.segment.generation)
        try:
            os.link(path, aside, follow_symlinks=False)
        except FileNotFoundError:
            log.warning('%s was removed by somebody else', session.digest)
            return None
        except FileExistsError:
            # The name was left by an earlier replacement that did not complete.
            pass
        return aside

    def keep(self, aside: Path, owner: bytes) -> None:
        """Count a file that has its ``.gone-*`` name only, or remove it if unmapped."""
        if not remove(aside, self.counts):
            self._newest = time.monotonic()
            self._count(aside, owner)

    def look(self) -> bool:
        """Remove the files that nobody maps any more; return whether any was."""
        found = False
        for path, (owner, _) in list(itertools.islice(self._held.items(), _LOOKS)):
            gone = remove(path, self.counts)
            self._forget(path)
            if not gone:
                # The file is counted anew, as its producer may have written meanwhile.
                # It moves to the end, so that the next look tries others first.
                self._count(path, owner)
            found = found or gone
        return found

    def _count(self, path: Path, owner: bytes) -> None:
        try:
            held = os.lstat(path).st_blocks * _BLOCK
        except FileNotFoundError:
            return
        self._held[path] = owner, held
        self._of_owner[owner] += held
        self.memory += held

    def _forget(self, path: Path) -> None:
        owner, held = self._held.pop(path)
        self.memory -= held
        self._of_owner[owner] -= held
        if not self._of_owner[owner]:
            del self._of_owner[owner]

    def close(self, leftovers: Leftovers) -> None:
        """Remove all files, mapped or not: the deployment ends."""
        for path in self._held:
            leftovers.remove(path, functools.partial(remove, path, self.counts))
            leftovers.remove_file(path)
        self._held.clear()
        self._of_owner.clear()
        self.memory = 0


def remove(path: Path, counts: Counts) -> bool:
    """Remove a segment's file unless it has a producer or is mapped.

    Returns:
        Whether the file has been removed.
    """
    try:
        fd = open_segment(path)
    except StreamNotFound:
        log.warning('%s was removed by somebody else', path.name)
        return True
    except LayoutMismatch:
        # Not a segment's file, so no process has mapped it.
        discard(path)
        return not os.path.lexists(path)
    except OSError as ex:
        log.warning('%s cannot be looked at: %s', path.name, ex.strerror)
        return False
    try:
        # The producer's lock comes first, because its holder may still take the shared
        # lock to map the segment. Once the producer's lock is free, nobody takes it
        # again.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hold_alone(fd)
        _tell(fd, counts)
        os.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _tell(fd: int, counts: Counts) -> None:
    """Log the line about a stream that was evicted before its producer died."""
    if int.from_bytes(os.pread(fd, WORD, W_CAUSE * WORD), 'little') & TOLD:
        return
    try:
        segment = Segment.adopt(fd)
    except LayoutMismatch:
        # It is damaged, or of another version: nothing is known of its stream.
        return
    except OSError as ex:
        # The file is removed all the same, because memory is short.
        log.warning('a stream that was removed cannot be told of: %s', ex.strerror)
        return
    if not segment.reader.finished:
        end_dead(segment, fd)
    count_end(segment, counts)
    tell(segment)
