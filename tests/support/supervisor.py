"""Stopping a supervisor that a test has started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.leaks import wait_until


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(')')[2].split()[0] == 'Z'


def stop(pid: int) -> None:
    """Have a supervisor clean up and end."""
    if not gone(pid):
        os.kill(pid, signal.SIGTERM)
    assert wait_until(lambda: gone(pid))
