"""Semaphores whose runtime directory is gone, so that no start removes them.

Their names tell the token of a worker table, but not where that table was. It may be a
directory that nobody here has named. So a semaphore counts as left behind only if no
process has it mapped: the worker that waits on it maps it for its whole life.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shmstream.inspection.dead import SHARED_MEMORY
from shmstream.wakeups.semaphore import semaphore_prefix

YOUNG_S = 60.0
"""Seconds for which a semaphore that nobody maps is left alone: its worker may be about
to map it."""

_NAME = re.compile(r'sem\.(shmstream-[0-9a-f]{16}-)[0-9a-f]{16}')
_FIRST_NAMESPACE = 'pid:[4026531836]'
"""The PID namespace of the machine itself. In any other one, processes outside cannot
be seen, and may use the same ``/dev/shm``."""

_MARK = b'/sem.'
"""In the line of each mapped semaphore. Who has made a semaphore has mapped it under
another name, which glibc makes up."""


@dataclass(frozen=True)
class Orphans:
    """What was found.

    Attributes:
        paths: semaphores that are left behind.
        unsure: how many could not be judged.
        why: why they could not.
    """

    paths: tuple[Path, ...] = ()
    unsure: int = 0
    why: str = ''


def orphans(tokens: Collection[int], everywhere: bool = False) -> Orphans:
    """Return the semaphores of this user that are left behind.

    Args:
        tokens: those of known directories, whose semaphores are not looked at.
        everywhere: judge by the processes that can be seen, though others cannot.
    """
    found = _of_this_user(tokens)
    if not found:
        return Orphans()
    if not everywhere and os.readlink('/proc/self/ns/pid') != _FIRST_NAMESPACE:
        return Orphans(
            (),
            len(found),
            'processes outside this container, which may share /dev/shm, cannot be'
            ' seen',
        )
    used, hidden = _mapped()
    if hidden and not everywhere:
        return Orphans((), len(found), f'process {hidden} cannot be looked at')
    return Orphans(tuple(path for path, inode in found if inode not in used))


def _of_this_user(tokens: Collection[int]) -> list[tuple[Path, int]]:
    known = {semaphore_prefix(token) for token in tokens}
    old = time.time() - YOUNG_S
    found = []
    try:
        with os.scandir(SHARED_MEMORY) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is None or match[1] in known:
                    continue
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if about.st_uid == os.geteuid() and about.st_ctime < old:
                    found.append((Path(entry.path), about.st_ino))
    except FileNotFoundError:
        pass
    return sorted(found)


def _mapped() -> tuple[set[int], int]:
    """Return the inodes of all mapped semaphores, and a process that hides its own."""
    used: set[int] = set()
    hidden = 0
    for name in os.listdir('/proc'):
        if not name.isdigit():
            continue
        try:
            with open(f'/proc/{name}/maps', 'rb') as maps:
                used |= {int(line.split()[4]) for line in maps if _MARK in line}
        except PermissionError:
            # Another user's process cannot use these semaphores, unless it is root's;
            # root's are not those of this user's deployments.
            if _is_mine(name):
                hidden = int(name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return used, hidden


def _is_mine(pid: str) -> bool:
    try:
        status = Path(f'/proc/{pid}/status').read_text(encoding='ascii')
    except (OSError, UnicodeDecodeError):
        return False
    found = re.search(r'^Uid:\s+\d+\s+(\d+)', status, re.MULTILINE)
    return found is not None and int(found[1]) == os.geteuid()
