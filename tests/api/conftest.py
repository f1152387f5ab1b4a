"""A deployment that a module's tests share: each stream has a name of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shmstream import Producer, Streams, SupervisorConfig
from tests.api.following import Follow, in_a_thread, on_a_loop
from tests.support.leaks import LeakGuard
from tests.support.service import fresh_directory
from tests.support.supervisor import stop
from tests.support.worker import Worker

_numbers = itertools.count()


@pytest.fixture(scope='module')
def streams() -> Iterator[Streams]:
    """The library with a supervisor, shared by the tests of a module."""
    directory = fresh_directory()
    guard = LeakGuard(directory)
    config = SupervisorConfig(capacity=65536)
    with Streams.attach(directory, supervise=config) as attached:
        attached.connect()
        supervisor = attached.status()['pid']
        yield attached
    stop(supervisor)
    guard.check()


@pytest.fixture
def conv_id() -> str:
    """An id that no other test uses."""
    return f'test-{next(_numbers)}'


@pytest.fixture
def producer(streams: Streams, conv_id: str) -> Iterator[Producer]:
    """The producer of a stream whose ring nothing here fills."""
    with streams.create(conv_id, capacity=4 << 20) as made:
        yield made


@pytest.fixture
def hire(streams: Streams) -> Iterator[Callable[[], Worker]]:
    """Start other processes of the deployment."""
    with ExitStack() as stack:
        directory = streams._process.directory.path
        yield lambda: stack.enter_context(Worker(directory, deployed=False))


@pytest.fixture(params=[in_a_thread, on_a_loop])
def follow(request: pytest.FixtureRequest) -> Follow:
    """Iterate to the end, in either way."""
    way: Follow = request.param
    return way
