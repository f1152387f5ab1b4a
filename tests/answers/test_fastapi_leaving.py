"""Workers of a FastAPI application that end in mid-answer, under each server."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmstream import Streams
from tests.answers.asgi_deployments import ALONE, SERVERS, Deployment, deployment
from tests.producing.steered import FIRST, WHOLE
from tests.support.client import Live
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.service import Service
from tests.support.supervisor import gone

APP = 'tests.answers.fastapi_app:app'
MOUNTED = 'tests.answers.mounted_app:app'
VARIANTS = ('plain', 'cors', 'gzip', 'base')

Start = Callable[..., Deployment]


@pytest.fixture(params=matrix(SERVERS, 'gunicorn'))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start each server."""
    with ExitStack() as stack:

        def start(app: str = APP, workers: int = 2, which: str = '') -> Deployment:
            return stack.enter_context(
                deployment(
                    *(request.param, app, tmp_path, workers),
                    which=which or '/plain/which',
                )
            )

        yield start


def outlives(there: Deployment, *targets: str) -> None:
    """Begin an answer by each target, follow it, and tell the workers to leave."""
    with ExitStack() as stack:
        posts, readers = [], []
        for number, target in enumerate(targets):
            chat = f'c{number}'
            posts.append(stack.enter_context(there.begin(f'{target}/{chat}', chat)))
            reader = there.client.open('GET', f'{target}/{chat}')
            readers.append(stack.enter_context(reader))
            reader.until(len(FIRST))
        there.leave()
        for target, reader in zip(targets, readers, strict=True):
            assert reader.rest() == FIRST
            assert reader.whole is False, target
        for number, (target, post) in enumerate(zip(targets, posts, strict=True)):
            gate = there.gate(f'c{number}')
            gate.open()
            assert post.rest() == WHOLE, target
            assert post.whole, target
            if isinstance(there.server, Service):
                assert there.read(f'{target}/c{number}') == WHOLE
            assert gate.closed() == 'ended'


def test_workers_that_leave_in_mid_answer_lose_nothing(start: Start) -> None:
    """1. Sources are silent. 2. HUP, or SIGTERM. 3. Readers are cut. 4. All ends whole.

    Whatever middleware there is, the readers get no closing chunk: they have to resume.
    """
    there = start(workers=1)
    outlives(there, *(f'/{variant}/chat' for variant in VARIANTS))


@pytest.mark.parametrize(
    'start',
    # The others kill the rest of their workers as soon as one has ended.
    matrix([kind for kind in SERVERS if kind not in ALONE], 'gunicorn'),
    indirect=True,
)
def test_two_workers_that_leave_lose_nothing(start: Start) -> None:
    outlives(start(), *(['/plain/chat'] * 3))


def test_a_mounted_application_is_drained_by_the_outermost_lifespan(
    start: Start,
) -> None:
    there = start(MOUNTED, 1, '/which')
    outlives(there, '/api/chat')


def test_a_killed_worker_is_told_in_band(start: Start) -> None:
    """1. A worker is killed in mid-answer. 2. Whoever reads is told at once."""
    there = start()
    with (
        Streams.attach(there.server.directory) as streams,
        there.begin('/plain/chat/c', 'c') as live,
    ):
        # So that the supervisor stays if the whole server ends.
        streams.connect()
        consumer = streams.open('c')
        reader = other_worker(there, live.worker)
        os.kill(live.worker, signal.SIGKILL)
        assert wait_until(lambda: gone(live.worker))
        data = b''.join(consumer.follow())
        assert data.startswith(FIRST)
        assert b'event: error' in data
        assert live.rest() == FIRST
        assert live.whole is False
        got = reader.rest()
        reader.close()
        if there.kind not in ALONE:
            assert got == data
            assert reader.whole
            assert there.read('/plain/chat/c') == data


def other_worker(there: Deployment, worker: int) -> Live:
    """Follow the answer at another worker."""
    readers: list[Live] = []

    def found() -> bool:
        with contextlib.suppress(IndexError):
            readers.pop().close()
        readers.append(there.client.open('GET', '/base/chat/c'))
        return readers[0].worker != worker

    assert wait_until(found)
    return readers[0]
