"""Stopping a process for a while, so that it has stopped when the call returns."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.support.leaks import wait_until


def freeze(pid: int) -> None:
    """Send SIGSTOP, and wait until no thread of the process runs any more.

    The signal alone only announces it: each thread goes on until it has its next turn,
    and on a busy machine a thread that is rung then may still do its work.
    """
    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: _is_frozen(pid))


def _is_frozen(pid: int) -> bool:
    for stat in Path(f'/proc/{pid}/task').glob('*/stat'):
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state = stat.read_text().rpartition(')')[2].split()[0]
            if state not in 'TtZX':
                return False
    return True
