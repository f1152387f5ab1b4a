"""Counting the system calls of a process that runs already."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

_ATTACH_S = 60.0


class SystemCalls:
    """``strace -c -f`` of a process and all its threads, from entering to leaving.

    Skips the test where strace is missing or may not trace.

    Args:
        pid: the process.
        folder: for strace's files.

    Attributes:
        calls: how often each was called; filled on leaving.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._summary = folder / f'strace-{pid}'
        self._messages = folder / f'strace-{pid}.messages'
        self.calls: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """All calls."""
        return self.calls.total()

    def __enter__(self) -> Self:
        strace = shutil.which('strace')
        if strace is None:
            pytest.skip('there is no strace: .ci/debian installs it')
        command = [strace, '-c', '-f', '-p', str(self._pid), '-o', str(self._summary)]
        with self._messages.open('wb') as messages:
            self._process = subprocess.Popen(command, stderr=messages)
        deadline = time.monotonic() + _ATTACH_S
        while 'attached' not in self._messages.read_text():
            if self._process.poll() is not None:
                pytest.skip(f'strace may not trace: {self._messages.read_text()}')
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f'strace has not attached within {_ATTACH_S} s')
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        for line in self._summary.read_text().splitlines():
            # % time, seconds, usecs/call, calls, perhaps errors, name
            words = line.split()
            if len(words) >= 5 and words[3].isdigit() and words[-1] != 'total':
                self.calls[words[-1]] += int(words[3])
