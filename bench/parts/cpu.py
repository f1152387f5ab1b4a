"""CPU time of other processes, to the nanosecond (``/proc/PID/stat`` counts in 10 ms)."""

from __future__ import annotations

import contextlib
from pathlib import Path


def cpu_ns(pid: int) -> int:
    """Nanoseconds that a process has run, all its threads that live; 0 if it is gone."""
    total = 0
    with contextlib.suppress(OSError):
        for thread in Path(f'/proc/{pid}/task').iterdir():
            with contextlib.suppress(OSError):
                total += int((thread / 'schedstat').read_text().split()[0])
    return total


def tree_cpu_ns(pids: list[int]) -> int:
    """The sum over several processes."""
    return sum(map(cpu_ns, pids))
