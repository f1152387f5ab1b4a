"""Fixtures: every test has a runtime directory and a port of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from shmstream import Streams, SupervisorConfig
from tests.support.leaks import LeakGuard
from tests.support.service import Service, fresh_directory
from tests.support.skips import (
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from tests.support.upstream import Script, ScriptedUpstream

__all__ = [
    'pytest_make_collect_report',
    'pytest_runtest_makereport',
    'pytest_terminal_summary',
]

# Where Python is told to write no bytecode, each process of each server would compile
# the whole package anew, and a run would take half as long again.
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
sys.dont_write_bytecode = False

# Who is started in the background may ignore Ctrl-C, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test may depend on how busy the machine is, so hypothesis takes no time either.
settings.register_profile(
    'any machine', deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile('any machine')


@pytest.fixture
def guard() -> Iterator[LeakGuard]:
    """Afterwards nothing of its directory's deployment may be left."""
    guard = LeakGuard(fresh_directory())
    yield guard
    guard.check()


@pytest.fixture
def directory(guard: LeakGuard) -> Path:
    """A runtime directory of the test's own, not made yet."""
    return guard.directory


@pytest.fixture
def streams(directory: Path, guard: LeakGuard) -> Iterator[Streams]:
    """The library with a supervisor of its own, and rings of 64 KiB."""
    with Streams.attach(
        directory, supervise=SupervisorConfig(capacity=65536)
    ) as attached:
        attached.connect()
        guard.note()
        supervisor = attached.status()['pid']
        yield attached
    from tests.support.supervisor import stop

    stop(supervisor)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start services; they are stopped, and checked for leaks, after the test."""
    with ExitStack() as stack:
        count = 0

        def start(**options: Any) -> Service:
            nonlocal count
            count += 1
            service = Service(tmp_path / f'service-{count}.log', **options)
            return stack.enter_context(service)

        yield start


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of three workers with the demo model, shared by a module's tests."""
    log = tmp_path_factory.mktemp('demo') / 'service.log'
    with Service(log, settings={'DEMO_RATE': '200'}) as service:
        yield service


@pytest.fixture
def upstream() -> Iterator[Callable[[Script], ScriptedUpstream]]:
    """Start scripted upstreams; they are stopped after the test."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(ScriptedUpstream(script))
