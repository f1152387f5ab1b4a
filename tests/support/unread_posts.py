"""Runs in a mount namespace of its own, with a /dev/shm of its own (F42).

Clients POST, read nothing and DELETE, and keep their connections.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.http.proxied import Proxied, proxied_service
from tests.http.wire import connect
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.own_tmpfs import used
from tests.support.session_files import held

LIMIT = 16 << 20
SIZE = 3 << 20
ROUNDS = 24
WORKERS = 2
WAIT_S = 60.0


def post(proxied: Proxied, conv_id: str) -> socket.socket | None:
    """POST and read no more than the status; None if it is refused."""
    feed = proxied.feed()
    feed.send(bytes(SIZE))
    feed.end()
    body = json.dumps({'feed': feed.token}).encode()
    sock = connect(proxied.service.port, receive_buffer=4096)
    sock.sendall(
        b'POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: %s\r\n'
        b'Content-Length: %d\r\n\r\n%s' % (conv_id.encode(), len(body), body)
    )
    status = sock.recv(12)
    if status == b'HTTP/1.1 200':
        return sock
    sock.close()
    assert status == b'HTTP/1.1 503', status
    return None


def is_done(proxied: Proxied, conv_id: str) -> bool:
    """Whether the stream has come to its end, or has made room already."""
    found = proxied.client.lookup(conv_id)
    return not found or bool(found[0]['is_done'])


def named(proxied: Proxied) -> int:
    """Bytes of what is found under an id."""
    return held(proxied.service.directory, aside=False)


def main() -> None:
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=512m', 'tmpfs', '/dev/shm'], check=True
    )
    settings = {'MAX_MEMORY': '16MiB', 'SESSION_BYTES': '4MiB'}
    made = refused = most = unnamed = 0
    with (
        proxied_service(Path(sys.argv[1]), workers=WORKERS, **settings) as proxied,
        contextlib.ExitStack() as kept,
    ):
        # What each worker has for itself is there from its first stream on.
        workers = set[int]()
        while len(workers) < WORKERS:
            with proxied.stream('first', b'x') as live:
                live.rest()
                workers.add(live.worker)
            proxied.client.delete(path('first'))
        assert wait_until(
            lambda: not os.listdir(proxied.service.directory / 'sessions')
        )
        idle = used()
        for number in range(ROUNDS):
            conv_id = f'c{number}'
            sock = post(proxied, conv_id)
            if sock is None:
                refused += 1
                continue
            kept.enter_context(sock)
            made += 1
            assert wait_until(lambda name=conv_id: is_done(proxied, name), WAIT_S)  # type: ignore[misc]
            most = max(most, used() - idle)
            proxied.client.delete(path(conv_id))
            most = max(most, used() - idle)
        unnamed = used() - idle - named(proxied)
        kept.close()

        def again() -> bool:
            sock = post(proxied, 'again')
            if sock is not None:
                sock.close()
            return sock is not None

        served = wait_until(again, WAIT_S)
    seen = {
        'made': made,
        'refused': refused,
        'most': most,
        'unnamed': unnamed,
        'served': served,
    }
    print(json.dumps(seen))


if __name__ == '__main__':
    main()
