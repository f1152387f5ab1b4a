"""The example for Django under real servers of two workers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.producing.scripted import Gate, whole
from tests.support.client import Client, Live
from tests.support.service import ROOT

CONFIG = ROOT / 'examples' / 'gunicorn.conf.py'
ASGI, WSGI = 'tests.answers.django_app:asgi', 'tests.answers.django_app:wsgi'
UVICORN = ('-k', 'uvicorn.workers.UvicornWorker')
GTHREAD = ('-k', 'gthread', '--threads', '8')
ON_LOOP, IN_THREADS = 'chats', 'threads'
"""The paths of the async view, and of the other."""

WORKERS: dict[str, tuple[tuple[str, ...], str, str]] = {
    'asgi': ((ASGI,), 'ASGI server listening', ON_LOOP),
    'asgi-threads': ((ASGI,), 'ASGI server listening', IN_THREADS),
    'uvicorn': ((*UVICORN, ASGI), 'Application startup complete', ON_LOOP),
    'gthread': ((*GTHREAD, WSGI), 'Booting worker', IN_THREADS),
    'gthread-loop': ((*GTHREAD, WSGI), 'Booting worker', ON_LOOP),
    'gevent': (('-k', 'gevent', WSGI), 'Booting worker', IN_THREADS),
}
"""By name: arguments of gunicorn, what a worker prints, and the view's path."""

BEFORE, AFTER = 3, 4
WHOLE = whole(BEFORE + AFTER)


class Server(Protocol):
    """A service, or another server."""

    def client(self) -> Client: ...


@dataclass
class Deployment:
    """A server of two workers, and the folder by which sources are steered."""

    kind: str
    server: Any
    folder: Path
    path: str

    @property
    def client(self) -> Client:
        client: Client = self.server.client()
        return client

    def begin(self, chat: str, path: str | None = None, **headers: str) -> Live:
        """POST; returns once the source waits at its gate."""
        live = self.post(f'/{path or self.path}/{chat}', chat, **headers)
        live.until(len(whole(BEFORE)))
        return live

    def post(self, target: str, chat: str, **headers: str) -> Live:
        asked = {'name': chat, 'id': chat, 'before': BEFORE, 'after': AFTER}
        return self.client.open('POST', target, json.dumps(asked).encode(), headers)

    def address(self, chat: str, offset: int | None = None) -> str:
        query = '' if offset is None else f'?from={offset}'
        return f'/{self.path}/{chat}{query}'

    def gate(self, chat: str) -> Gate:
        return Gate(self.folder, chat)

    def told(self) -> bool:
        """Whether the worker of a production has been told to leave."""
        return 'leaving: 1 productions go on' in self.server.text()

    def follow(self, chat: str, offset: int = 0) -> Live:
        """Follow an answer, at whichever worker."""
        deadline = time.monotonic() + 30
        while True:
            live = self.client.open('GET', self.address(chat, offset))
            if live.status == 200:
                return live
            # As many readers as it may have: those of attempts before leave by and by.
            assert live.status == 503
            live.close()
            assert time.monotonic() < deadline

    def elsewhere(self, chat: str, worker: int) -> Live:
        """Follow an answer from another worker than this one."""
        deadline = time.monotonic() + 30
        while True:
            live = self.follow(chat)
            if live.worker != worker:
                return live
            live.close()
            assert time.monotonic() < deadline

    def read(self, chat: str, offset: int = 0) -> bytes:
        """Read to the end as a client that resumes does, at whichever worker."""
        deadline = time.monotonic() + 30
        data = b''
        while True:
            try:
                with self.client.open(
                    'GET', self.address(chat, offset + len(data))
                ) as live:
                    if live.status == 200:
                        data += live.rest()
                        if live.whole:
                            return data
            except OSError:
                # Nobody listens for a moment.
                pass
            assert time.monotonic() < deadline
