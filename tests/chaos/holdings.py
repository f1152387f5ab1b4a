"""What a service holds: the memory of its segments, named or not, and its own.

It is read from the file system and from the kernel, and not asked for: a service that
does not know of it is what is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shmstream.memory.directory import GONE_PREFIX

_BLOCK = 512
_DELETED = ' (deleted)'


@dataclass(frozen=True)
class Holdings:
    """At one moment, or nearly.

    Attributes:
        segments: bytes of all of them.
        sessions: of how many sessions.
        aside: of those that are none any more, and are mapped: how many there are.
    """

    segments: int
    sessions: int
    aside: int


def holdings(directory: Path, pids: Iterable[int]) -> Holdings:
    """Look what a deployment holds.

    Args:
        directory: its runtime directory.
        pids: its processes, which may map what has no name any more.
    """
    sizes: dict[int, int] = {}
    aside: set[int] = set()
    sessions: set[int] = set()
    folder = directory / 'sessions'
    for name in _names(folder):
        found = _stat(folder / name)
        if found is not None:
            sizes[found.st_ino] = found.st_blocks * _BLOCK
            (aside if name.startswith(GONE_PREFIX) else sessions).add(found.st_ino)
    for pid in pids:
        for path in (*_mapped(pid, folder), *_opened(pid, folder)):
            found = _stat(path)
            if found is not None and found.st_ino not in sizes:
                sizes[found.st_ino] = found.st_blocks * _BLOCK
                aside.add(found.st_ino)
    return Holdings(sum(sizes.values()), len(sessions), len(aside))


def heap(pid: int) -> int:
    """Bytes that a process has for itself alone; 0 if it has gone."""
    try:
        status = Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith('RssAnon:'):
            return int(line.split()[1]) * 1024
    return 0


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _stat(path: Path) -> os.stat_result | None:
    """What is there, or mapped, or open; None if it has gone, or is not to be seen."""
    try:
        return path.stat()
    except OSError:
        return None


def _mapped(pid: int, folder: Path) -> list[Path]:
    """What this process maps of this folder, and has no name there."""
    try:
        maps = Path(f'/proc/{pid}/maps').read_text()
    except OSError:
        return []
    return [
        Path(f'/proc/{pid}/map_files/{line.split()[0]}')
        for line in maps.splitlines()
        if line.endswith(_DELETED) and f' {folder}/' in line
    ]


def _opened(pid: int, folder: Path) -> list[Path]:
    """What it has open of it."""
    found = []
    here = Path(f'/proc/{pid}/fd')
    for name in _names(here):
        try:
            target = os.readlink(here / name)
        except OSError:
            continue
        if target.startswith(f'{folder}/') and target.endswith(_DELETED):
            found.append(here / name)
    return found
