"""Rounds, CPU time and memory of other processes, and processes that always end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from bench.report import ROOT, Stat

T = TypeVar('T')


def stat(values: Iterable[float]) -> Stat:
    """Median and spread of the rounds; of none, not a number."""
    kept = [v for v in values if v == v]
    if not kept:
        return Stat(float('nan'), float('nan'), float('nan'))
    return Stat(statistics.median(kept), min(kept), max(kept))


def say(text: str) -> None:
    """Show progress."""
    print(f'  {text}', file=sys.stderr, flush=True)


def interleaved(rounds: int, items: Sequence[T]) -> Iterator[tuple[int, T]]:
    """Each item once per round, every other round backwards: drift hits all alike."""
    for number in range(rounds):
        for item in items if number % 2 == 0 else reversed(items):
            yield number, item


def tree(pid: int) -> list[int]:
    """The pid and its descendants, as far as they live."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f'/proc/{one}/task').iterdir():
                with contextlib.suppress(OSError):
                    todo += map(int, (task / 'children').read_text().split())
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these processes so far, user and system, all threads.

    The kernel's clock of a process (see clock_getcpuclockid(3)) counts nanoseconds
    where /proc/PID/stat counts ticks of 10 ms. Both include threads that have ended.
    """
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)
    return total


def pss_kib(pids: Iterable[int]) -> float:
    """Proportional set size of these processes in KiB; shared pages count once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
                if line.startswith('Pss:'):
                    total += int(line.split()[1])
    return total


def free_port() -> int:
    """A port on which nobody listens at this moment."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
        return port


def wait_port(port: int, process: Process, wait_s: float = 20.0) -> None:
    """Wait until somebody listens; raises ``RuntimeError`` if the process ends."""
    end = time.monotonic() + wait_s
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(('127.0.0.1', port)),
        ):
            return
        if process.popen.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f'{process.name} did not start:\n{process.text()}')
        time.sleep(0.02)


class Scratch:
    """A directory in shared memory for the files of a run; removed on leaving."""

    def __init__(self) -> None:
        self.path = Path(f'/dev/shm/bench-{os.getpid()}-{secrets.token_hex(4)}')

    def __enter__(self) -> Path:
        self.path.mkdir(mode=0o755)
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import shutil

        shutil.rmtree(self.path, ignore_errors=True)


class Process:
    """A child in a session of its own, with lines in and JSON lines out.

    Args:
        name: for messages.
        command: what to run.
        log: file for what it prints (stderr, and stdout unless ``talk``).
        talk: whether stdin and stdout are pipes of ours.
        env: further environment.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        talk: bool = False,
        env: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        with log.open('ab') as out:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else out,
                stderr=out,
                env={**os.environ, 'PYTHONPATH': str(ROOT), **(env or {})},
                cwd=ROOT,
                text=True,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def text(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors='replace')[-3000:]

    def tell(self, line: str) -> None:
        """Send it a line."""
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(line + '\n')
            self.popen.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(f'{self.name} ended:\n{self.text()}') from None

    def hear(self, wait_s: float = 30.0) -> dict[str, Any]:
        """Its next line, a JSON object; raises ``RuntimeError`` if none comes."""
        assert self.popen.stdout is not None
        timer = threading.Timer(wait_s, self.popen.kill)
        timer.start()
        try:
            line = self.popen.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise RuntimeError(f'{self.name} ended:\n{self.text()}')
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self, wait_s: float = 15.0) -> None:
        """End it, and what it has left of its session."""
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):
                self.popen.stdin.close()
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(wait_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class CpuWindow:
    """CPU seconds that groups of processes use within a window."""

    def __init__(self, **groups: Callable[[], list[int]]) -> None:
        self._groups = groups
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: cpu_s(pids()) for name, pids in self._groups.items()}

    def read(self) -> dict[str, float]:
        """CPU seconds since it was made."""
        now = self._now()
        return {name: now[name] - self._before[name] for name in now}
