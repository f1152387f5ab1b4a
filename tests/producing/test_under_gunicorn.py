"""Workers of gunicorn that end in mid-answer, without a line of the application's."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gunicorn
import pytest

from tests.producing.scripted import whole
from tests.producing.steered import AFTER, BEFORE, CONFIG, WHOLE, Deployment
from tests.support.client import Live
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.service import Service
from tests.support.supervisor import gone

ASGI, WSGI = 'tests.producing.asgi_app:app', 'tests.producing.wsgi_app:app'
UVICORN = 'uvicorn.workers.UvicornWorker'
_ALL: dict[str, tuple[tuple[str, ...], str]] = {
    'asgi': ((ASGI,), 'ASGI server listening'),
    'uvicorn': (('-k', UVICORN, ASGI), 'Application startup complete'),
    'gthread': (('-k', 'gthread', '--threads', '8', WSGI), 'Booting worker'),
    'gevent': (('-k', 'gevent', WSGI), 'Booting worker'),
}
_THERE = {
    'asgi': gunicorn.version_info >= (25,),
    'gevent': find_spec('gevent') is not None,
}
WORKERS = {name: started for name, started in _ALL.items() if _THERE.get(name, True)}
"""``.ci/lowest`` runs these tests without gevent, and with older versions of gunicorn.
23 has no ASGI worker, and that of 24 cannot end a response whose length is not known.
"""

Start = Callable[..., Deployment]


@pytest.fixture(params=matrix(WORKERS, *WORKERS.keys() & {'asgi', 'gthread'}))
def start(
    request: pytest.FixtureRequest, serve: Callable[..., Service], tmp_path: Path
) -> Start:
    """Start two workers of each class."""

    def start(
        *more: str, expected: tuple[str, ...] = (), **settings: str
    ) -> Deployment:
        arguments, ready = WORKERS[request.param]
        service = serve(
            workers=2,
            config=CONFIG,
            arguments=(*more, *arguments),
            ready=ready,
            settings=settings,
            expected=expected,
            environment={'PRODUCING_FOLDER': str(tmp_path)},
        )
        return Deployment(request.param, service, tmp_path)

    return start


def test_a_generation_goes_on_when_its_client_leaves(start: Start) -> None:
    there = start()
    there.begin('a').close()
    there.gate('a').open()
    assert there.read('a') == WHOLE
    assert wait_until(lambda: there.gate('a').closed() == 'ended')


def test_a_generation_goes_on_through_a_reload(start: Start) -> None:
    """1. HUP while the source is silent. 2. New workers serve. 3. The source goes on.

    The response that began the stream is whole, too, and the old worker ends.
    """
    there = start()
    before = there.server.worker_pids()
    with there.begin('a') as live:
        worker = live.worker
        assert worker in before
        there.server.signal(signal.SIGHUP)
        assert wait_until(there.told)
        assert wait_until(lambda: there.newer_than(before) > 1)
        there.gate('a').open()
        assert live.rest() == WHOLE
        assert live.whole
    assert there.read('a') == WHOLE
    assert there.gate('a').closed() == 'ended'
    assert wait_until(lambda: gone(worker))


def test_a_reload_waits_for_a_generation_that_nobody_reads(start: Start) -> None:
    """No connection keeps the old worker: only the drain does."""
    there = start()
    asked = {'name': 'a', 'before': BEFORE, 'after': AFTER, 'detached': True}
    reply = there.client.call('POST', '/chats/a', json.dumps(asked).encode())
    worker = int(reply.headers['stream-worker'])
    there.server.signal(signal.SIGHUP)
    assert wait_until(there.told)
    # It would be gone within a second or two.
    assert not wait_until(lambda: gone(worker), 3.0)
    there.gate('a').open()
    assert there.read('a') == WHOLE
    assert there.gate('a').closed() == 'ended'
    assert wait_until(lambda: gone(worker))


def test_a_generation_goes_on_when_its_worker_is_recycled(start: Start) -> None:
    there = start('--max-requests', '5')
    with there.begin('a') as live:

        def recycled() -> bool:
            """Ask until the worker has had its requests, and is told to leave."""
            with contextlib.suppress(OSError, http.client.HTTPException):
                there.client.get('/which')
            return there.told()

        assert wait_until(recycled)
        there.gate('a').open()
        assert live.rest() == WHOLE
        assert live.whole
    assert there.read('a') == WHOLE
    assert there.gate('a').closed() == 'ended'


@pytest.mark.parametrize('start', ['uvicorn'], indirect=True)
def test_a_recycled_worker_of_uvicorn_is_alive_and_lets_readers_go(
    start: Start,
) -> None:
    """The source is silent for longer than gunicorn waits for a sign of life.

    The other worker is recycled, too, and it may take that long to end: an interpreter
    that ends gives no sign of life.
    """
    late = 'WORKER TIMEOUT'
    there = start('--max-requests', '40', '--timeout', '6', expected=(late,))
    with there.begin('a') as live, contextlib.ExitStack() as stack:

        def reader() -> Live:
            return stack.enter_context(there.client.open('GET', '/chats/a?from=0'))

        readers = [reader()]
        while readers[-1].worker != live.worker:
            readers.append(reader())

        def recycled() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                there.client.get('/which')
            return there.told()

        assert wait_until(recycled)
        assert readers[-1].rest() == whole(BEFORE)
        assert not readers[-1].whole
        assert not wait_until(lambda: gone(live.worker), 9.0)
        assert f'{late} (pid:{live.worker})' not in there.server.text()
        there.gate('a').open()
        assert live.rest() == WHOLE
        assert live.whole
    assert there.read('a') == WHOLE
    assert there.gate('a').closed() == 'ended'
    assert wait_until(lambda: gone(live.worker))


def test_the_end_of_the_service_is_told_in_band(start: Start) -> None:
    """SIGTERM while the source is silent: it is stopped, and its readers are told."""
    there = start('--graceful-timeout', '3')
    with there.begin('a') as live:
        there.server.signal(signal.SIGTERM)
        data = live.rest()
        assert live.whole
        assert there.server.wait() == 0
    assert data.startswith(whole(BEFORE))
    assert b'the producing worker has shut down' in data.split(b'\n\n')[-2]
    assert there.gate('a').closed() in ('CancelledError', 'saw it')


def test_what_ends_in_time_ends_whole_when_the_service_ends(start: Start) -> None:
    there = start('--graceful-timeout', '20')
    with there.begin('a') as live:
        there.server.signal(signal.SIGTERM)
        assert wait_until(there.told)
        there.gate('a').open()
        assert live.rest() == WHOLE
        assert live.whole
        assert there.server.wait() == 0
    assert there.gate('a').closed() == 'ended'


def test_the_drain_has_a_limit(start: Start) -> None:
    """A reload with a source that never ends: aborted after ``SHMSTREAM_DRAIN``."""
    there = start(DRAIN='1')
    with there.begin('a') as live:
        worker = live.worker
        there.server.signal(signal.SIGHUP)
        data = live.rest()
        assert live.whole
    assert b'the producing worker has shut down' in data.split(b'\n\n')[-2]
    assert wait_until(lambda: gone(worker))


def test_sigquit_ends_a_worker_at_once(start: Start) -> None:
    there = start()
    if there.kind == 'uvicorn':
        # To uvicorn's worker this signal is the same as SIGTERM.
        return
    with there.begin('a') as live:
        os.kill(live.worker, signal.SIGQUIT)
        assert wait_until(lambda: gone(live.worker))
    data: Any = there.read('a')
    assert b'event: error' in data


def test_stop_from_another_worker_ends_a_silent_source(start: Start) -> None:
    there = start()
    with there.begin('a') as live:
        assert there.client.delete('/chats/a').status == 204
        assert live.rest() == whole(BEFORE)
        assert live.whole
    assert wait_until(lambda: bool(there.gate('a').closed()))
    assert there.gate('a').closed() in ('CancelledError', 'saw it')
