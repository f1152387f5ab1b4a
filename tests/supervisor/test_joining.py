"""Who supervises keeps the supervisor, whatever for, and whoever attached first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shmstream import Streams
from shmstream.control.client import ControlClient
from shmstream.control.wire import Message
from tests.supervisor.conftest import status, supervisors
from tests.support.child import Child, hear, say
from tests.support.leaks import wait_until
from tests.support.supervisor import stop


def supervise(directory: str) -> None:
    """Have a supervisor and a stream, until told to end."""
    with Streams.attach(directory, supervise=True) as streams:
        streams.connect()
        producer = streams.create('a')
        producer.write(b'x')
        say('up')
        hear()


def follow(streams: Streams) -> None:
    """Follow on a loop, which asks the supervisor for nothing."""

    async def main() -> None:
        async with streams.open('a').follow() as follower:
            assert await anext(follower) == b'x'

    asyncio.run(main())


@pytest.fixture
def another(directory: Path) -> Iterator[Child]:
    """A process that has a supervisor, which works for it alone."""
    try:
        with Child(supervise, directory) as child:
            assert child.hear() == 'up'
            yield child
    finally:
        for pid in supervisors(directory):
            stop(pid)


def masters(directory: Path) -> list[int]:
    found: list[int] = (status(directory) or {'masters': []})['masters']
    return found


@pytest.mark.parametrize(
    'use', [follow, lambda streams: streams.lookup(['a']), Streams.connect]
)
def test_who_supervises_after_a_plain_attach_keeps_the_supervisor(
    directory: Path, another: Child, use: Callable[[Streams], object]
) -> None:
    """1. Somebody has a supervisor. 2. We attach, then supervise. 3. He goes.

    Result: the supervisor that we use has not gone with him.
    """
    with Streams.attach(directory) as plain:
        plain.connect()
        (supervisor,) = supervisors(directory)
        with Streams.attach(directory, supervise=True) as streams:
            use(streams)
            assert wait_until(lambda: os.getpid() in masters(directory))
            another.say('go')
            another.wait()
            assert wait_until(lambda: masters(directory) == [os.getpid()])
            assert supervisors(directory) == [supervisor]
            # Nothing is told twice.
            assert not streams._process.link._unknown_masters()


def test_who_supervises_while_hello_is_under_way_is_not_forgotten(
    directory: Path, another: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The masters that the supervisor knows are those that hello has said."""
    with Streams.attach(directory) as plain, ExitLater() as later:
        greeted = ControlClient._connected

        def supervise_meanwhile(client: ControlClient, *bounds: float) -> object:
            hello = client._hello

            def say_hello() -> Message:
                message = hello()
                later.add(Streams.attach(directory, supervise=True))._process  # noqa: B018
                return message

            client._hello = say_hello
            try:
                return greeted(client, *bounds)
            finally:
                client._hello = hello

        with monkeypatch.context() as patched:
            patched.setattr(ControlClient, '_connected', supervise_meanwhile)
            plain.connect()
        assert wait_until(lambda: os.getpid() in masters(directory))


class ExitLater:
    """Closes what is added to it."""

    def __init__(self) -> None:
        self._all: list[Streams] = []

    def add(self, streams: Streams) -> Streams:
        self._all.append(streams)
        return streams

    def __enter__(self) -> ExitLater:
        return self

    def __exit__(self, *_: object) -> None:
        for streams in self._all:
            streams.close()
