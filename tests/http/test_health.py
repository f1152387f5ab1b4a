"""Live, ready and healthz: for balancers and orchestrators."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shmstream.http.health import ANSWER_S
from tests.http.proxied import Proxied
from tests.support.leaks import wait_until
from tests.support.patience import Stopwatch
from tests.support.service import Service

LIVE, READY, HEALTH = '/_shmstream/live', '/_shmstream/ready', '/healthz'


@pytest.fixture(scope='module')
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with keys, which these routes do not need, and the parser in Python."""
    log = tmp_path_factory.mktemp('health') / 'service.log'
    settings = {'API_KEYS': 'sk-secret', 'MAX_MEMORY': '64MiB', 'MAX_SESSIONS': '9'}
    with Service(
        log, workers=2, settings=settings, arguments=('--http-parser', 'python')
    ) as service:
        yield service


@pytest.mark.parametrize('target', [LIVE, READY, HEALTH])
def test_who_asks_needs_no_key_and_learns_no_secret(
    guarded: Service, target: str
) -> None:
    client = guarded.client()
    reply = client.get(target)
    assert (reply.status, reply.json()['status']) == (200, 'ok')
    assert reply.json()['worker']['pid'] in guarded.worker_pids()
    assert reply.headers['cache-control'] == 'no-store'
    assert b'sk-secret' not in reply.body
    assert str(guarded.directory).encode() not in reply.body
    head = client.call('HEAD', target)
    assert (head.status, head.body) == (200, b'')
    assert client.call('POST', target).status in (401, 405)


def test_healthz_tells_what_is_used_and_what_is_degraded(guarded: Service) -> None:
    client = guarded.client()
    key = {'Authorization': 'Bearer sk-secret'}
    before = client.get(HEALTH).json()
    with client.post('used', {'max_tokens': 2}, **key) as post:
        post.rest()
    health = client.get(HEALTH).json()
    assert health['sessions'] == {'used': before['sessions']['used'] + 1, 'limit': 9}
    assert health['memory']['limit'] == 64 << 20
    assert 0 < health['memory']['used'] < 64 << 20
    assert health['room']['bytes'] == (64 << 20) - health['memory']['used']
    assert health['workers'] == 2
    assert health['degraded'] == ['HTTP parser in Python']


def test_a_supervisor_that_hangs_or_dies_takes_no_probe_with_it(
    guarded: Service,
) -> None:
    (supervisor,) = guarded.supervisors()
    client = guarded.client()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        with Stopwatch() as waited:
            for target in (READY, HEALTH):
                reply = client.get(target)
                assert (reply.status, reply.headers['retry-after']) == (503, '2')
                assert reply.json()['status'] == 'no supervisor'
            assert client.get(LIVE).status == 200
            assert waited.seconds < 2 * ANSWER_S + 1
    finally:
        # It cannot be replaced while it holds its lock.
        os.kill(supervisor, signal.SIGKILL)
    assert client.get(LIVE).status == 200
    assert wait_until(lambda: client.get(READY).status == 200)
    assert client.get(HEALTH).json()['supervisor']['pid'] != supervisor


def test_a_worker_that_leaves_is_live_and_not_ready(
    proxy: Callable[..., Proxied],
) -> None:
    """Its idle connections are closed; requests that it has begun to read get this."""
    proxied = proxy(workers=1)
    feed = proxied.feed(first=b'data: x\n\n')
    (worker,) = proxied.service.worker_pids()
    with proxied.post('drains', feed) as post, ExitStack() as stack:
        post.until(1)
        asked = {}
        for target in (LIVE, READY):
            sock = socket.create_connection(('127.0.0.1', proxied.service.port), 20)
            asked[target] = stack.enter_context(sock)
            sock.sendall(b'GET %b HTTP/1.1\r\nHost: x\r\n' % target.encode())
        proxied.service.signal(signal.SIGHUP)
        up = 'ASGI server listening'
        assert wait_until(lambda: proxied.service.text().count(up) == 2)
        found = {}
        for target, sock in asked.items():
            sock.sendall(b'Connection: close\r\n\r\n')
            response = http.client.HTTPResponse(sock)
            response.begin()
            found[target] = response.status, json.loads(response.read())
        feed.end()
        post.rest()
    assert found[LIVE] == (200, {'status': 'ok', 'worker': {'pid': worker}})
    assert found[READY] == (503, {'status': 'leaving', 'worker': {'pid': worker}})
