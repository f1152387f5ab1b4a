"""The sessions of a runtime directory, from copies of their headers.

Each header is copied by one ``pread``, through a descriptor that cannot write. Nothing
is mapped and nothing is locked, so that nothing is held up.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shmstream.errors import DirectoryRefused, LayoutMismatch
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.segment_header import SegmentHeader
from shmstream.memory.session_facts import SessionFacts, facts_of
from shmstream.memory.worker_table import Slots, read_slots
from shmstream.ring.layout import HEADER_BYTES

_BLOCK = 512
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class Found:
    """One session.

    Attributes:
        facts: what its header says.
        name: the name of its file in the folder of sessions.
        kept_headers: lines of the answer's headers that its replays have too.
    """

    facts: SessionFacts
    name: str
    kept_headers: tuple[str, ...]


@dataclass
class Listing:
    """The sessions that were found, and what could not be read.

    Attributes:
        found: the sessions.
        damaged: the names of files that are no segments of this version, and why.
    """

    found: list[Found]
    damaged: list[tuple[str, str]]


def slots_of(directory: RuntimeDirectory) -> Slots:
    """Return the slots of the workers; empty if there is no worker table.

    Raises:
        LayoutMismatch: the table is of another version.
    """
    try:
        fd = os.open(directory.table, _READ)
    except FileNotFoundError:
        return {}
    try:
        return read_slots(fd)
    finally:
        os.close(fd)


def all_sessions(
    directory: RuntimeDirectory, progress: Callable[[int], None] = lambda _: None
) -> Listing:
    """Return all sessions of all owners; takes some 20 us for each.

    Args:
        directory: the runtime directory.
        progress: is called with the number of sessions that have been read.

    Raises:
        DirectoryRefused: the directory is not there, or not private to this user.
        LayoutMismatch: the deployment is of another version.
    """
    directory.check()
    slots = slots_of(directory)
    listing = Listing([], [])
    for path, name in _files(directory):
        try:
            found = _read(path, name, slots)
        except LayoutMismatch as ex:
            listing.damaged.append((name, str(ex)))
            continue
        if found is not None:
            listing.found.append(found)
            progress(len(listing.found))
    return listing


def _files(directory: RuntimeDirectory) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(directory.sessions) as entries:
            for entry in entries:
                # A name with a dot is that of a segment which is no session, or not
                # yet, or which another session stands for.
                if not entry.name.startswith('.'):
                    yield entry.path, entry.name
    except FileNotFoundError:
        return


def _read(path: Path | str, name: str, slots: Slots) -> Found | None:
    """Read one session; None if it has gone."""
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        return None
    except OSError as ex:
        raise LayoutMismatch(str(ex.strerror)) from ex
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise LayoutMismatch('not a regular file')
        raw = os.pread(fd, HEADER_BYTES, 0)
    finally:
        os.close(fd)
    header = SegmentHeader(memoryview(raw.ljust(HEADER_BYTES, b'\0')))
    header.check(about.st_size)
    if header.evicted:
        return None
    facts = facts_of(header, about.st_blocks * _BLOCK, slots)
    lines = header.kept_headers.decode('latin-1').splitlines()
    return Found(facts, name, tuple(lines))


def require(directory: RuntimeDirectory) -> None:
    """Check that a deployment has used this directory.

    Raises:
        DirectoryRefused: it is not there, not private to this user, or has nothing of a
            deployment in it.
    """
    directory.check()
    if not (directory.table.exists() or directory.sessions.is_dir()):
        raise DirectoryRefused(f'{directory.path} is no runtime directory')
