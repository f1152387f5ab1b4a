"""An ASGI application under each server, with two workers."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.producing.scripted import Gate
from tests.producing.steered import AFTER, BEFORE, CONFIG, FIRST, read_whole
from tests.servers.asgi import AsgiServer
from tests.support.client import Client, Live, Reply
from tests.support.service import Service

UVICORN_WORKER = 'uvicorn.workers.UvicornWorker'
GUNICORNS: dict[str, tuple[tuple[str, ...], str]] = {
    'gunicorn': ((), 'ASGI server listening'),
    'uvicorn-worker': (('-k', UVICORN_WORKER), 'Application startup complete'),
}
OTHERS: dict[str, tuple[str, ...]] = {
    'uvicorn': ('uvicorn', '{app}', '--port', '{{port}}', '--workers', '{workers}'),
    'hypercorn': (
        *('hypercorn', '{app}', '-b', '127.0.0.1:{{port}}', '-w', '{workers}'),
        *('--graceful-timeout', '9'),
    ),
    'granian': (
        *('granian', '--interface', 'asgi', '{app}', '--port', '{{port}}'),
        *('--workers', '{workers}'),
    ),
}
SERVERS = (*GUNICORNS, *OTHERS)

ALONE = ('hypercorn', 'granian')
"""As soon as one of their workers has ended, they end the others."""


class _Other(AsgiServer):
    """A server other than gunicorn."""

    which = '/plain/which'

    def healthy_workers(self) -> set[str]:
        with contextlib.suppress(OSError):
            return {self.client().get(self.which).body.decode()}
        return set()


class Deployment:
    """A server of an application, and the folder by which sources are steered.

    Args:
        kind: which server.
        server: the running server.
        folder: where the files of sources are.
    """

    def __init__(self, kind: str, server: Service | AsgiServer, folder: Path) -> None:
        self.kind = kind
        self.server = server
        self.folder = folder

    @property
    def client(self) -> Client:
        """A client of it."""
        return self.server.client()

    def ask(self, target: str, asked: Mapping[str, Any], **headers: str) -> Live:
        """POST a question; returns once the headers of the answer are there."""
        headers['Content-Type'] = 'application/json'
        return self.client.open('POST', target, json.dumps(asked).encode(), headers)

    def begin(self, target: str, name: str, after: int = AFTER) -> Live:
        """POST; returns once the source waits at its gate."""
        asked = {'name': name, 'before': BEFORE, 'after': after}
        live = self.ask(target, asked)
        assert live.status == 200
        live.until(len(FIRST))
        return live

    def gate(self, name: str) -> Gate:
        """What holds the source back."""
        return Gate(self.folder, name)

    def call(self, method: str, target: str, **headers: str) -> Reply:
        """Make a request without a body."""
        return self.client.call(method, target, None, headers)

    def leave(self) -> None:
        """Tell the workers to leave: a reload, or the end where there is none."""
        if isinstance(self.server, Service):
            self.server.signal(signal.SIGHUP)
        else:
            self.server.terminate()

    def read(self, target: str) -> bytes:
        """Read to the end as a client that resumes does, at whichever worker."""
        return read_whole(self.client, lambda at: f'{target}?from={at}', wait_s=60)


@contextmanager
def deployment(
    kind: str,
    app: str,
    folder: Path,
    workers: int = 2,
    expected: tuple[str, ...] = (),
    which: str = _Other.which,
    **environment: str,
) -> Iterator[Deployment]:
    """Run a server; afterwards nothing of it is left.

    Args:
        kind: which server.
        app: module and name of the application.
        folder: for logs, and for the files of sources.
        workers: their number.
        expected: accidents that a test means to have.
        which: a path at which a worker says its pid.
        environment: more variables.
    """
    environment['ANSWERS_FOLDER'] = str(folder)
    log = folder / 'server.log'
    server: Service | AsgiServer
    if kind in GUNICORNS:
        arguments, ready = GUNICORNS[kind]
        server = Service(
            log,
            workers=workers,
            config=CONFIG,
            arguments=(*arguments, app),
            ready=ready,
            expected=expected,
            environment=environment,
        )
    else:
        environment['ANSWERS_ALONE'] = '1'
        command = [part.format(app=app, workers=str(workers)) for part in OTHERS[kind]]
        server = _Other(
            kind,
            log,
            command=tuple(command),
            workers=workers,
            environment=environment,
        )
        server.which = which
    with server:
        yield Deployment(kind, server, folder)
