"""Segments that have no session any more, and that somebody still maps.

What is unlinked while it is mapped costs memory that nobody sees. So a file is put
aside first, and its bytes count until it can be removed::

    evict     nobody maps it: unlink; else rename to .gone-<generation>
    replace   link to .gone-<generation>, then rename the new one over its name
    look      a few times a second: remove those that nobody maps any more

Whoever maps a segment holds a read lock through the description that its mapping keeps
(``segment.hold``), so that the kernel knows, whatever becomes of the process. A file is
removed under the write lock: who has opened it and comes for the read lock too late is
refused, or finds that the file has no name any more. A descriptor that is still on its
way to its producer has no mapping, but the producer's ``flock``.

Nothing is kept of a file but its name: neither a mapping nor a descriptor.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.memory.directory import RuntimeDirectory, discard
from shmstream.memory.segment import hold_alone, open_segment
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.session import Session

log = logging.getLogger('shmstream.supervisor')

SOON_S = 1.0
"""A process lets go of what nobody in it uses within this time of the eviction."""

_LOOKS = 256
"""How many files are looked at in one go."""

_BLOCK = 512


class Gone:
    """The files that have been put aside.

    Args:
        directory: where they are.

    Attributes:
        memory: bytes that they hold.
    """

    def __init__(self, directory: RuntimeDirectory) -> None:
        self._directory = directory
        self._held: dict[Path, tuple[bytes, int]] = {}
        self._of_owner: Counter[bytes] = Counter()
        self.memory = 0
        self._newest = -SOON_S

    def __len__(self) -> int:
        return len(self._held)

    @property
    def soon(self) -> bool:
        """Whether something was put aside so lately that it may go any moment."""
        return bool(self._held) and time.monotonic() - self._newest < SOON_S

    @property
    def owners(self) -> Collection[bytes]:
        """Whose they were."""
        return self._of_owner.keys()

    def memory_of(self, owner: bytes) -> int:
        """Bytes that they hold of what was this owner's."""
        return self._of_owner[owner]

    def put(self, session: Session) -> None:
        """Remove the file of an evicted session, or put it aside."""
        path = self._directory.segment(session.file)
        if remove(path):
            return
        aside = self._directory.gone(session.segment.generation)
        os.rename(path, aside)
        self.keep(aside, session.key[0])

    def link(self, session: Session, aside: Path | None = None) -> Path | None:
        """Give the file of a session that is to be replaced its second name.

        Args:
            session: the session.
            aside: that name; None: where what is gone is.

        Returns:
            That name, for ``keep`` once it is the only one; None if there is no file.

        Raises:
            OSError: there is no room for another name: it costs an inode on tmpfs.
        """
        path = self._directory.segment(session.digest)
        aside = aside or self._directory.gone(session.segment.generation)
        try:
            os.link(path, aside, follow_symlinks=False)
        except FileNotFoundError:
            log.warning('%s was removed by somebody else', session.digest)
            return None
        except FileExistsError:
            # A replacement that came no farther has left it.
            pass
        return aside

    def keep(self, aside: Path, owner: bytes) -> None:
        """Count a file of this owner that has been put aside, or remove it."""
        if not remove(aside):
            self._newest = time.monotonic()
            self._count(aside, owner)

    def look(self) -> bool:
        """Remove what nobody maps any more; return whether that was anything."""
        found = False
        for path, (owner, _) in list(itertools.islice(self._held.items(), _LOOKS)):
            gone = remove(path)
            self._forget(path)
            if not gone:
                # Its producer may have written; and next time it is another's turn.
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
        """Remove all of them: nobody is left who could count them."""
        for path in self._held:
            leftovers.remove_file(path)
        self._held.clear()
        self._of_owner.clear()
        self.memory = 0


def remove(path: Path) -> bool:
    """Remove a segment's file unless somebody produces or maps it.

    Returns:
        Whether it is gone.
    """
    try:
        fd = open_segment(path)
    except StreamNotFound:
        log.warning('%s was removed by somebody else', path.name)
        return True
    except LayoutMismatch:
        # Nothing of ours: nobody can have mapped it.
        discard(path)
        return not os.path.lexists(path)
    except OSError as ex:
        log.warning('%s cannot be looked at: %s', path.name, ex.strerror)
        return False
    try:
        # In this order: who holds this one may still come for the other, but once it is
        # free nobody takes it again.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hold_alone(fd)
        os.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
