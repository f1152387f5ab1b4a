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

from shmstream.errors import LayoutMismatch, ShmstreamError
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.file_locks import is_locked
from shmstream.memory.segment_header import SegmentHeader
from shmstream.memory.session_facts import SessionFacts, facts_of
from shmstream.memory.worker_table import Slots, read_slots
from shmstream.ring.layout import HEADER_BYTES

_BLOCK = 512
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class NoDeployment(ShmstreamError):
    """No deployment has used the directory, or the last one has cleaned up."""


@dataclass
class Listing:
    """The sessions that were found, and what could not be read.

    Attributes:
        found: the sessions.
        damaged: the names of files that are no segments of this version, and why.
    """

    found: list[SessionFacts]
    damaged: list[tuple[str, str]]


def slots_of(directory: RuntimeDirectory) -> Slots:
    """Return the slots of the workers that live; empty if there is no worker table.

    Without a supervisor, the table has the slots of workers that have died. So the
    locks are asked who lives (``memory.slot_locks``).

    Raises:
        LayoutMismatch: the table is of another version.
    """
    try:
        fd = os.open(directory.table, _READ)
    except FileNotFoundError:
        return {}
    try:
        try:
            taken = read_slots(fd)
        except LayoutMismatch as ex:
            raise LayoutMismatch(
                f'the deployment in {directory.path} is of another version: {ex}'
            ) from ex
        return {slot: who for slot, who in taken.items() if is_locked(fd, slot)}
    finally:
        os.close(fd)


def all_sessions(
    directory: RuntimeDirectory, progress: Callable[[int], None] = lambda _: None
) -> Listing:
    """Return all sessions of all owners; takes some 50 us of CPU for each.

    Args:
        directory: the runtime directory.
        progress: is called with the number of sessions that have been read.

    Raises:
        NoDeployment, DirectoryRefused: as ``require``.
        LayoutMismatch: the deployment is of another version.
    """
    require(directory)
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


def kept_headers(directory: RuntimeDirectory, name: str) -> list[str]:
    """Return the headers that the replays of a session have as well, one per line."""
    found = _header_of(directory.segment(name))
    return found[0].kept_headers.decode('latin-1').splitlines() if found else []


def _read(path: Path | str, name: str, slots: Slots) -> SessionFacts | None:
    """Read one session; None if it has gone."""
    found = _header_of(path)
    if found is None or found[0].evicted:
        return None
    if found[0].digest != name:
        raise LayoutMismatch('the name is not that of its session')
    return facts_of(*found, slots)


def _header_of(path: Path | str) -> tuple[SegmentHeader, int] | None:
    """Return a copy of a segment's header, and the memory that the segment holds."""
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
    return header, about.st_blocks * _BLOCK


def require(directory: RuntimeDirectory) -> None:
    """Check that a deployment has used this directory.

    Raises:
        NoDeployment: it is not there, or has nothing of a deployment in it.
        DirectoryRefused: it is not private to this user.
    """
    path = directory.path
    try:
        theirs = os.lstat(path).st_uid != os.geteuid()
    except OSError as ex:
        raise NoDeployment(f'there is no deployment in {path}: {ex.strerror}') from None
    # Whether it is private counts only if it is a runtime directory: nobody is to make
    # /tmp private.
    files = (directory.table, directory.sessions, directory.metrics)
    if not theirs and not any(map(os.path.lexists, files)):
        raise NoDeployment(f'there is no deployment in {path}')
    directory.check()
