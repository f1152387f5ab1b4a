"""The segments' files, counted while the supervisor may rename and remove them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def stats(paths: Iterator[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Each path with what ``lstat`` says of it, without those that have just gone."""
    for path in paths:
        try:
            yield path, path.lstat()
        except FileNotFoundError:
            continue


def held(directory: Path, aside: bool = True) -> int:
    """Bytes of memory that the segments of a runtime directory hold.

    Args:
        directory: the runtime directory.
        aside: whether those count that are found under no id any more.
    """
    return sum(
        found.st_blocks * 512
        for path, found in stats((directory / 'sessions').iterdir())
        if aside or not path.name.startswith('.')
    )
