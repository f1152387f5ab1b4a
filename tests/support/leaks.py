"""What a deployment may leave behind: nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.patience import LOOK_S, Patience

SHM = Path('/dev/shm')


def wait_until(condition: Callable[[], bool], wait_s: float = 30.0) -> bool:
    """Poll a condition; the only way in which tests wait for what sends no signal.

    Args:
        condition: becomes true.
        wait_s: seconds as ``Patience`` counts them: more by the clock on a machine that
            is busy.
    """
    patience = Patience()
    while not condition():
        if patience.look() >= wait_s:
            return condition()
        time.sleep(LOOK_S)
    return True


def semaphores(directory: Path) -> list[str]:
    """The doorbells in /dev/shm that belong to a runtime directory's deployment."""
    try:
        words = memoryview((directory / 'workers').read_bytes()).cast('Q')
    except FileNotFoundError:
        return []
    token = f'sem.shmstream-{words[2]:016x}-'
    return [name for name in os.listdir(SHM) if name.startswith(token)]


def processes(text: str) -> list[int]:
    """The processes whose arguments or environment hold ``text``."""
    found = []
    for entry in Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The supervisor has it in its arguments, workers in their environment.
            told = (entry / 'cmdline').read_bytes() + (entry / 'environ').read_bytes()
        except OSError:
            continue
        if text.encode() in told and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


class LeakGuard:
    """Checks that a runtime directory's deployment has gone without a trace."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._tokens: set[str] = set()

    def note(self) -> None:
        """Remember the token that semaphores are named by, while it can be read."""
        try:
            raw = (self.directory / 'workers').read_bytes()
        except FileNotFoundError:
            return
        self._tokens.add(f'{memoryview(raw).cast("Q")[2]:016x}')

    def left(self) -> list[str]:
        """Everything that is still there."""
        found = [f'process {pid}' for pid in processes(str(self.directory))]
        if self.directory.exists():
            found += [str(path) for path in self.directory.rglob('*')]
            found.append(str(self.directory))
        for name in os.listdir(SHM) if SHM.exists() else ():
            if any(token in name for token in self._tokens):
                found.append(name)
        return found

    def check(self, wait_s: float = 10.0) -> None:
        """Fail unless everything is gone, or goes within ``wait_s``."""
        wait_until(lambda: not self.left(), wait_s)
        left = self.left()
        assert left == [], left
