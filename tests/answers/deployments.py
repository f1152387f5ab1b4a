"""A gunicorn of two workers with an application whose sources a test steers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.producing.scripted import Gate, whole
from tests.support.client import Client, Live
from tests.support.service import ROOT, Service

CONFIG = ROOT / 'examples' / 'gunicorn.conf.py'
BEFORE, AFTER = 3, 4
FIRST, WHOLE = whole(BEFORE), whole(BEFORE + AFTER)

_GTHREAD = ('-k', 'gthread', '--threads', '8')
_FLASK = 'tests.answers.flask_app:app'
_FALCON = 'tests.answers.falcon_wsgi_app:app'

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    'flask-gthread': ((*_GTHREAD, _FLASK), 'Booting worker'),
    'flask-sync': (('-k', 'sync', _FLASK), 'Booting worker'),
    'flask-gevent': (('-k', 'gevent', _FLASK), 'Booting worker'),
    'falcon-gthread': ((*_GTHREAD, _FALCON), 'Booting worker'),
    'falcon-gevent': (('-k', 'gevent', _FALCON), 'Booting worker'),
    'falcon-asgi': (
        ('tests.answers.falcon_asgi_app:app',),
        'ASGI server listening',
    ),
}
"""Arguments of gunicorn, and what each worker prints when it is up."""


@dataclass
class Deployment:
    """A deployment, and the folder by which sources are steered."""

    kind: str
    service: Service
    folder: Path

    @property
    def client(self) -> Client:
        return self.service.client()

    def asked(self, chat: str) -> dict[str, Any]:
        """What a POST asks for."""
        return {'name': chat, 'before': BEFORE, 'after': AFTER}

    def begin(self, chat: str, target: str = '', **headers: str) -> Live:
        """POST; returns once the source waits at its gate."""
        body = json.dumps(self.asked(chat)).encode()
        headers['Content-Type'] = 'application/json'
        live = self.client.open('POST', target or f'/chats/{chat}', body, headers)
        live.until(len(FIRST))
        return live

    def gate(self, chat: str) -> Gate:
        return Gate(self.folder, chat)

    def told(self) -> bool:
        """Whether the worker of a production has been told to leave."""
        return 'leaving: 1 productions go on' in self.service.text()

    def newer_than(self, workers: list[int]) -> int:
        """The number of workers that are none of these."""
        return len(set(self.service.worker_pids()) - set(workers))

    def elsewhere(self, chat: str, worker: int) -> Live:
        """Follow it from another worker than this one."""
        deadline = time.monotonic() + 30
        while True:
            live = self.client.open('GET', f'/chats/{chat}')
            if live.status == 200 and live.worker != worker:
                return live
            # A worker that has seen too many such attempts says 503 for a moment.
            live.close()
            assert time.monotonic() < deadline

    def read(self, chat: str, offset: int = 0) -> bytes:
        """Read to the end as a client that resumes does, at whichever worker."""
        deadline = time.monotonic() + 30
        data = b''
        while True:
            target = f'/chats/{chat}?from={offset + len(data)}'
            try:
                with self.client.open('GET', target) as live:
                    if live.status == 200:
                        data += live.rest()
                        if live.whole:
                            return data
            except OSError:
                # Nobody listens for a moment.
                pass
            assert time.monotonic() < deadline


Start = Callable[..., Deployment]


def starter(kind: str, serve: Callable[..., Service], folder: Path) -> Start:
    """Return what starts a deployment of this kind."""

    def start(*more: str, workers: int = 2, **settings: str) -> Deployment:
        arguments, ready = KINDS[kind]
        service = serve(
            workers=workers,
            config=CONFIG,
            arguments=(*arguments[:-1], *more, arguments[-1]),
            ready=ready,
            settings=settings,
            environment={'PRODUCING_FOLDER': str(folder)},
        )
        return Deployment(kind, service, folder)

    return start
