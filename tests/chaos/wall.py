"""The wall clock of the whole service, which is set while it runs."""

from __future__ import annotations

import mmap
import random
import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.support.service import ROOT

_STEPS_S = (-86_400, -301, -30, 0, 30, 301, 86_400)


class Wall:
    """What is between the service's wall clock and the machine's.

    Args:
        file: where it stands; all processes of the service have it mapped.
        library: what they ask instead of the C library.
    """

    def __init__(self, file: Path, library: Path) -> None:
        file.write_bytes(bytes(8))
        with file.open('r+b') as opened:
            self._map = mmap.mmap(opened.fileno(), 8)
        self._words = memoryview(self._map).cast('q')
        self.environment = {'LD_PRELOAD': str(library), 'WALL_FILE': str(file)}

    @classmethod
    def build(cls, where: Path) -> Self | None:
        """Make one; None where there is no compiler."""
        compiler = shutil.which('gcc') or shutil.which('cc')
        if compiler is None:
            return None
        library = where / 'wall.so'
        source = ROOT / 'tests/support/wall.c'
        command = [compiler, '-shared', '-fPIC', '-O2', '-o', str(library), str(source)]
        subprocess.run([*command, '-ldl'], check=True)
        return cls(where / 'wall', library)

    @property
    def ahead_s(self) -> int:
        """By so much it is ahead."""
        return self._words[0]

    def set(self, ahead_s: int) -> None:
        """Have it so many seconds ahead."""
        self._words[0] = ahead_s

    def step(self, rng: random.Random) -> int:
        """Set it; returns by how much it is ahead now."""
        self.set(rng.choice([s for s in _STEPS_S if s != self.ahead_s]))
        return self.ahead_s
