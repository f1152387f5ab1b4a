"""The example for Django under real servers of two workers."""

from __future__ import annotations

from typing import Any

from tests.producing.steered import Deployment as Steered

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


class Deployment(Steered):
    """A deployment whose view also asks for the id in the body."""

    def asked(self, chat: str) -> dict[str, Any]:
        return super().asked(chat) | {'id': chat}
