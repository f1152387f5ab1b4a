"""A supervisor of the test's own, and workers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from shmstream import SupervisorConfig, SupervisorUnavailable
from shmstream.control.request import ask
from shmstream.memory.directory import RuntimeDirectory
from tests.support.child import ROOT
from tests.support.leaks import LeakGuard, processes, wait_until
from tests.support.service import START_S, fresh_directory
from tests.support.supervisor import gone, stop
from tests.support.worker import Worker

Start = Callable[..., subprocess.Popen[bytes]]
Hire = Callable[..., Worker]


def supervisors(directory: Path) -> list[int]:
    """The supervisors of a directory that run."""
    found = []
    for pid in processes(str(directory)):
        with contextlib.suppress(OSError):
            command = Path(f'/proc/{pid}/cmdline').read_bytes()
            if b'shmstream.supervisor\0' in command and not gone(pid):
                found.append(pid)
    return found


def status(directory: Path) -> dict[str, Any] | None:
    """What the supervisor says of itself; None while there is none."""
    with contextlib.suppress(SupervisorUnavailable):
        return ask(RuntimeDirectory(directory), 'status')
    return None


def serving(directory: Path, but: int = 0) -> int:
    """Wait for a supervisor, another than ``but``; returns its pid."""
    found = 0

    def there() -> bool:
        nonlocal found
        found = (status(directory) or {'pid': 0})['pid']
        return found not in (0, but)

    # How long a process takes to start on a busy machine is not the point.
    assert wait_until(there, START_S)
    return found


@contextlib.contextmanager
def supervised(
    directory: Path,
    *,
    masters: list[int] | None = None,
    prefix: tuple[str, ...] = (),
    stderr: Any = None,
    **config: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor; whoever serves the directory at the end is told to stop."""
    settings = asdict(SupervisorConfig(**{'capacity': 65536} | config))
    command = [*prefix, sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory), '--config', json.dumps(settings)]
    for pid in [os.getpid()] if masters is None else masters:
        command += ['--master', str(pid)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=stderr)
    try:
        serving(directory)
        yield process
    finally:
        # Successors that came too late may still be about to find that out.
        assert wait_until(lambda: len(supervisors(directory)) <= 1)
        for pid in supervisors(directory):
            stop(pid)
        process.wait(10)


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Start supervisors of the test's directory."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(supervised(directory, **options))


@pytest.fixture
def hire(directory: Path, start: Start) -> Iterator[Hire]:
    """Start workers."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Worker(directory, **options))


@pytest.fixture(scope='module')
def supervisor() -> Iterator[tuple[Path, int]]:
    """A supervisor that a module's tests share: its directory and pid."""
    directory = fresh_directory()
    guard = LeakGuard(directory)
    with supervised(directory) as process:
        yield directory, process.pid
    guard.check()
