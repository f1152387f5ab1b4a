"""The routes by which the demonstration page restarts the workers, and kills one."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmstream.deploy.other_workers import OtherWorkers
from shmstream.deploy.worker_life import WorkerLife
from shmstream.http.app import create_app
from shmstream.settings import Settings
from tests.asgi.in_process import messages, scope
from tests.http.proxied import Proxied
from tests.http.wire import JSON, Pinned, assert_error, one_per_worker
from tests.support.leaks import wait_until
from tests.support.service import Service

DEMO = '/_shmstream/demo'
RESTART = f'{DEMO}/restart'
HOST = '127.0.0.1:8000'


def kill(pid: object) -> str:
    return f'{DEMO}/kill?pid={pid}'


def browser(service: Service) -> dict[str, str]:
    """What a browser says of a request of the page."""
    origin = f'http://127.0.0.1:{service.port}'
    return {'Sec-Fetch-Site': 'same-origin', 'Origin': origin}


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Not one whose log is checked: gunicorn tells of workers that were killed."""
    log = tmp_path_factory.mktemp('demo-routes') / 'service.log'
    with Service(log, workers=2) as service:
        yield service


def test_the_page_learns_whom_it_may_kill(service: Service) -> None:
    reply = service.client().get(DEMO, **{'Sec-Fetch-Site': 'same-origin'})
    assert (reply.status, reply.headers['content-type']) == (200, JSON)
    assert reply.headers['cache-control'] == 'no-store'
    told = reply.json()
    assert told['opening'].startswith('I am the demo model')
    assert sorted(told['workers']) == sorted(service.worker_pids())


def test_nobody_but_a_worker_can_be_killed(service: Service) -> None:
    client, before = service.client(), service.worker_pids()
    page = browser(service)
    for pid in (1, os.getpid(), service.master, *service.supervisors(), 1 << 22):
        assert_error(client.call('POST', kill(pid), None, page), 404, 'no worker')
    for wrong in ('', '-1', '0', 'all', '1e3', 1 << 64):
        assert client.call('POST', kill(wrong), None, page).status == 400
    assert client.call('POST', f'{DEMO}/kill', None, page).status == 400
    assert client.get(kill(before[0])).status == 405
    assert service.worker_pids() == before


def test_a_worker_is_killed_also_by_itself(service: Service) -> None:
    with one_per_worker(service.port, 2) as (one, other):
        # Its answer is there before it dies.
        assert one.call('POST', kill(one.worker), browser(service)).status == 202
        assert wait_until(lambda: one.worker not in service.worker_pids())
        assert other.call('GET', '/healthz').status == 200
    assert wait_until(lambda: len(service.worker_pids()) == 2)
    assert 'was sent SIGKILL' in service.text()


def test_all_workers_are_replaced(service: Service) -> None:
    before = set(service.worker_pids())
    assert service.client().call('POST', RESTART, None, browser(service)).status == 202
    assert wait_until(
        lambda: len(service.worker_pids()) == 2 and before.isdisjoint(pids(service))
    )


def pids(service: Service) -> list[int]:
    """The workers, by any of them: asked when it is up."""
    with Pinned(service.port) as pinned:
        workers: list[int] = pinned.call('GET', DEMO, browser(service)).json()[
            'workers'
        ]
        return workers


def test_in_front_of_an_upstream_there_is_nothing_of_it(proxied: Proxied) -> None:
    client, before = proxied.service.client(), proxied.service.worker_pids()
    assert client.get(DEMO).json() == {'opening': None, 'workers': []}
    for target in (RESTART, kill(before[0])):
        assert_error(client.call('POST', target), 404, 'demo model')
    assert proxied.service.worker_pids() == before


@pytest.mark.parametrize(
    ('headers', 'peer', 'status'),
    [
        # 404 says that the client may: this process is not gunicorn's.
        ({}, '127.0.0.1', 404),
        ({}, '::1', 404),
        ({'host': 'localhost:8000', 'origin': 'http://localhost:8000'}, '::1', 404),
        ({'host': '[::1]', 'origin': 'http://[::1]'}, '::1', 404),
        ({}, '192.0.2.1', 403),
        ({}, None, 403),
        ({'host': 'evil.test:8000', 'origin': 'http://evil.test:8000'}, '::1', 403),
        ({'x_forwarded_for': '192.0.2.1'}, '127.0.0.1', 403),
        ({'forwarded': 'for=192.0.2.1'}, '127.0.0.1', 403),
        ({'sec_fetch_site': 'same-site'}, '127.0.0.1', 403),
        ({'sec_fetch_site': 'cross-site'}, '127.0.0.1', 403),
        ({'sec_fetch_site': 'none'}, '127.0.0.1', 403),
        ({'sec_fetch_site': ''}, '127.0.0.1', 403),
        ({'origin': ''}, '127.0.0.1', 403),
        ({'origin': 'http://127.0.0.1:9000'}, '127.0.0.1', 403),
        # A proxy on this machine that names this service as the host.
        ({'origin': 'https://public.example'}, '127.0.0.1', 403),
        ({'origin': 'null'}, '127.0.0.1', 403),
    ],
)
def test_it_is_for_the_page_on_this_machine(
    directory: Path, headers: dict[str, str], peer: str | None, status: int
) -> None:
    page = {'host': HOST, 'sec_fetch_site': 'same-origin', 'origin': f'http://{HOST}'}
    sent = {name: value for name, value in (page | headers).items() if value}
    host = sent.pop('host')
    asked = scope(RESTART, 'POST', **sent)
    asked['headers'][0] = (b'host', host.encode())
    asked['client'] = None if peer is None else (peer, 1)
    app = create_app(Settings(dir=directory))
    head, body, *_ = asyncio.run(messages(app, asked))
    assert head['status'] == status, body
    assert json.loads(body['body'])['error']['code'] == status


def test_without_gunicorn_there_are_no_workers() -> None:
    workers = OtherWorkers(WorkerLife())
    assert (workers.master(), workers.pids()) == (None, [])
    assert not workers.restart()
    assert not workers.kill(os.getpid())
