"""Stopping a supervisor that a test has started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from shmstream.control.request import ask
from shmstream.memory.directory import RuntimeDirectory
from tests.support.leaks import wait_until


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(')')[2].split()[0] == 'Z'


def stop(pid: int) -> None:
    """Have a supervisor clean up and end: in the name of all of its masters."""
    if not gone(pid):
        command = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
        path = os.fsdecode(command[command.index(b'--directory') + 1])
        directory = RuntimeDirectory(Path(path))
        masters = ask(directory, 'status')['masters']
        for master in masters:
            ask(directory, 'leave', pid=master)
        if not masters:
            os.kill(pid, signal.SIGTERM)
    assert wait_until(lambda: gone(pid))
