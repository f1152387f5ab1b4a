"""Runs a module in a process whose wall clock somebody else sets.

``python stepped.py FILE PYTHON -m MODULE ARGUMENTS``: what the file holds, seconds, is
added whenever the process asks for the wall clock, by whatever name. On SIGUSR1 it
writes what it sees, seconds, to the file beside it that ends in ``.seen``.
"""

from __future__ import annotations

import runpy
import signal
import sys
import time
from pathlib import Path

NS = 1_000_000_000

clock_gettime_ns = time.clock_gettime_ns


def step(file: Path) -> None:
    """Have this process see the wall clock as the file says."""

    def stepped(clock: int) -> int:
        now = clock_gettime_ns(clock)
        if clock == time.CLOCK_REALTIME:
            now += int(file.read_text()) * NS
        return now

    time.clock_gettime_ns = stepped
    time.clock_gettime = lambda clock: stepped(clock) / NS
    time.time_ns = lambda: stepped(time.CLOCK_REALTIME)
    time.time = lambda: stepped(time.CLOCK_REALTIME) / NS

    def tell(_signum: int, _frame: object) -> None:
        aside = file.with_suffix('.telling')
        aside.write_text(str(time.time()))
        aside.rename(file.with_suffix('.seen'))

    signal.signal(signal.SIGUSR1, tell)


if __name__ == '__main__':
    _, found, _python, _m, module, *arguments = sys.argv
    step(Path(found))
    sys.argv = [module, *arguments]
    # As ``python -m`` has it.
    sys.path[0] = ''
    runpy.run_module(module, run_name='__main__', alter_sys=True)
