"""Run a command where every user of the machine can reach some places.

``unshare -m python -m tests.support.reachable PLACE ... -- COMMAND ...``: what is below
a folder that is closed to others (Python in root's home) is mounted where it was, with
nothing else of that folder beside it. Only the command sees that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def closed_above(place: Path) -> Path | None:
    """Return the outermost folder above a place that others may not pass through."""
    for folder in reversed(place.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def open_up(places: list[Path]) -> None:
    """Make the places reachable, in this mount namespace."""
    kept: dict[Path, list[tuple[Path, Path]]] = {}
    for place in places:
        folder = closed_above(place)
        if folder is not None:
            hold = Path(tempfile.mkdtemp(prefix='reachable-'))
            mount('--bind', str(place), str(hold))
            kept.setdefault(folder, []).append((hold, place))
    for folder, held in kept.items():
        mount('-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', str(folder))
        for hold, place in held:
            place.mkdir(parents=True, exist_ok=True)
            mount('--bind', str(hold), str(place))
            subprocess.run(['umount', str(hold)], check=True)
            hold.rmdir()


def mount(*arguments: str) -> None:
    """Mount something."""
    subprocess.run(['mount', *arguments], check=True)


def main() -> None:
    """Become the command."""
    end = sys.argv.index('--')
    open_up([Path(place) for place in dict.fromkeys(sys.argv[1:end])])
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])


if __name__ == '__main__':
    main()
