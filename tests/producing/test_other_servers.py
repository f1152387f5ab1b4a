"""ASGI servers other than gunicorn that end in mid-answer: the lifespan drains them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.producing.scripted import Gate, whole
from tests.servers.asgi import AsgiServer
from tests.support.client import Live
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.supervisor import gone

APP = 'tests.producing.asgi_app:app'
COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    'uvicorn': (('uvicorn', APP, '--port', '{port}', '--workers', '2'), 2),
    # As soon as one of its workers has ended, hypercorn kills the others.
    'hypercorn': (
        ('hypercorn', APP, '-b', '127.0.0.1:{port}', '--graceful-timeout', '9'),
        1,
    ),
    'granian': (
        *(('granian', '--interface', 'asgi', APP, '--port', '{port}'),),
        1,
    ),
}
BEFORE, AFTER = 3, 4


class Server(AsgiServer):
    """It serves the small application instead of the service."""

    def healthy_workers(self) -> set[str]:
        with contextlib.suppress(OSError):
            return {self.client().get('/which').body.decode()}
        return set()


@pytest.fixture(params=matrix(COMMANDS, 'uvicorn'))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Each server."""
    command, workers = COMMANDS[request.param]
    environment = {'PRODUCING_FOLDER': str(tmp_path), 'PRODUCING_ALONE': '1'}
    with ExitStack() as stack:
        server = Server(
            request.param,
            tmp_path / 'log',
            command=command,
            workers=workers,
            environment=environment,
        )
        yield stack.enter_context(server)


def begin(server: Server) -> Live:
    asked = {'name': 'a', 'before': BEFORE, 'after': AFTER}
    live = server.client().open('POST', '/chats/a', json.dumps(asked).encode())
    live.until(len(whole(BEFORE)))
    return live


def ended_reader(server: Server) -> Callable[[], bool]:
    """Follow a stream; returns whether the server has let the reader go."""
    reader = server.client().open('GET', '/chats/a?from=0')
    reader.until(len(whole(BEFORE)))

    def let_go() -> bool:
        reader.rest()
        reader.close()
        return reader.whole is False

    return let_go


def test_what_ends_in_time_ends_whole(server: Server, tmp_path: Path) -> None:
    """1. SIGTERM. 2. A reader is let go: it has been heard. 3. The source goes on."""
    with begin(server) as live:
        let_go = ended_reader(server)
        server.terminate()
        assert let_go()
        gate = Gate(tmp_path, 'a')
        gate.open()
        assert live.rest() == whole(BEFORE + AFTER)
        assert live.whole
        server.wait()
    assert gate.closed() == 'ended'


def test_it_waits_for_a_generation_that_nobody_reads(
    server: Server, tmp_path: Path
) -> None:
    """No connection keeps it: only the drain does."""
    asked = {'name': 'a', 'before': BEFORE, 'after': AFTER, 'detached': True}
    reply = server.client().call('POST', '/chats/a', json.dumps(asked).encode())
    worker = int(reply.headers['stream-worker'])
    server.terminate()
    assert wait_until(lambda: 'leaving: 1 productions go on' in server.text())
    assert not wait_until(lambda: gone(worker), 2.0)
    gate = Gate(tmp_path, 'a')
    gate.open()
    server.wait()
    assert gate.closed() == 'ended'


def test_what_does_not_is_told_in_band(server: Server, tmp_path: Path) -> None:
    with begin(server) as live:
        server.terminate()
        data = live.rest()
        server.wait()
    assert live.whole
    assert b'the producing worker has shut down' in data.split(b'\n\n')[-2]
    assert wait_until(lambda: Gate(tmp_path, 'a').closed() == 'CancelledError')


def test_a_client_that_leaves_changes_nothing(server: Server, tmp_path: Path) -> None:
    begin(server).close()
    gate = Gate(tmp_path, 'a')
    gate.open()
    assert server.client().get('/chats/a').body == whole(BEFORE + AFTER)
    assert wait_until(lambda: gate.closed() == 'ended')
