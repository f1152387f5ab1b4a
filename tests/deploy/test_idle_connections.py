"""F98: connections are kept for long, and hold up no reload."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.http.wire import Pinned
from tests.support.leaks import wait_until
from tests.support.service import ROOT, Service

QUIET_S = 3.0
"""Longer than gunicorn's own two seconds."""


def test_f98_a_connection_is_kept_for_longer_than_balancers_keep_it() -> None:
    gunicorn = str(Path(sys.executable).parent / 'gunicorn')
    printed = subprocess.run(
        [sys.executable, gunicorn, '-c', ROOT / 'gunicorn.conf.py', '--print-config'],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
        text=True,
    ).stdout
    line = next(one for one in printed.splitlines() if one.startswith('keepalive '))
    assert int(line.partition('=')[2]) > 60


def test_f98_an_idle_connection_is_still_good_after_seconds(
    serve: Callable[..., Service],
) -> None:
    service = serve(workers=2)
    connection = http.client.HTTPConnection('127.0.0.1', service.port, 20)
    connection.request('GET', '/healthz')
    connection.getresponse().read()
    sock = connection.sock
    assert select.select([sock], [], [], QUIET_S)[0] == []
    connection.request('GET', '/healthz')
    assert connection.getresponse().status == 200
    assert connection.sock is sock
    connection.close()


def test_f98_idle_connections_hold_up_no_reload(serve: Callable[..., Service]) -> None:
    """1. Idle and fresh connections to each worker. 2. HUP. 3. It is not waited for."""
    service = serve(workers=2, arguments=('--graceful-timeout', '25'))
    old = set(service.worker_pids())
    idle = [Pinned(service.port) for _ in range(8)]
    # As browsers open them, ahead of a need.
    fresh = [socket.create_connection(('127.0.0.1', service.port)) for _ in range(4)]
    slow = service.client().post('slow', {'max_tokens': 200, 'tokens_per_second': 40})
    slow.until(1)
    busy = slow.worker
    service.signal(signal.SIGHUP)
    assert wait_until(lambda: not (old - {busy}) & set(service.worker_pids()), 20)
    # What is busy is not cut; its connection goes when it is through.
    slow.rest()
    assert slow.whole
    assert wait_until(lambda: not old & set(service.worker_pids()), 20)
    assert 'Forcing close' not in service.text()
    for connection in idle:
        connection.close()
    for sock in fresh:
        # Closed by the service: cleanly, or by a reset that says the same.
        sock.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b''
        sock.close()
    slow.close()


WHOLE = b'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'
HALF, REST = WHOLE[:15], WHOLE[15:]


def closed(sock: socket.socket) -> bool:
    """Whether the service closes the connection, cleanly or by a reset."""
    try:
        return sock.recv(1) == b''
    except ConnectionResetError:
        return True


def half_a_request(port: int, before: tuple[bytes, ...]) -> socket.socket:
    """A connection on which half of a request waits, after these pieces."""
    sock = socket.create_connection(('127.0.0.1', port), 20)
    for piece in before:
        sock.sendall(piece)
        if piece.startswith(WHOLE):
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            answer.read()
            assert answer.status == 200
    return sock


BEFORE = {
    'as the first one': (HALF,),
    'after one': (WHOLE, HALF),
    'with the one before': (WHOLE + HALF,),
    'in two pieces': (WHOLE, HALF[:3], HALF[3:]),
}


@pytest.mark.parametrize('before', BEFORE.values(), ids=BEFORE.keys())
def test_f98_a_request_that_is_half_there_is_answered(
    serve: Callable[..., Service], before: tuple[bytes, ...]
) -> None:
    """A worker that is leaving closes no connection on which a request has begun."""
    service = serve(workers=1, arguments=('--graceful-timeout', '25'))
    (old,) = service.worker_pids()
    sock = half_a_request(service.port, before)
    fresh = socket.create_connection(('127.0.0.1', service.port), 20)
    service.signal(signal.SIGHUP)
    # It is the last that an idle connection is waited for.
    assert closed(fresh)
    sock.sendall(REST)
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    # It says that it leaves.
    assert answer.status == 503
    assert json.load(answer)['worker']['pid'] == old
    assert closed(sock)
    for each in (sock, fresh):
        each.close()


def test_f98_one_that_stays_half_there_holds_up_no_reload(
    serve: Callable[..., Service],
) -> None:
    service = serve(workers=1, arguments=('--graceful-timeout', '60'))
    (old,) = service.worker_pids()
    socks = [half_a_request(service.port, before) for before in BEFORE.values()]
    service.signal(signal.SIGHUP)
    for sock in socks:
        assert closed(sock)
        sock.close()
    assert wait_until(lambda: old not in service.worker_pids(), 20)
    assert 'Forcing close' not in service.text()
