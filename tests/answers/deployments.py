"""A gunicorn of two workers with an application whose sources a test steers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.answers.watched import asks
from tests.producing.steered import CONFIG, Deployment
from tests.support.service import Service

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

BLOCKED = 'blocked'
"""The file, in the folder of a deployment, in which calls that block are noted."""

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
            environment={'PRODUCING_FOLDER': str(folder), **asks(folder / BLOCKED)},
        )
        return Deployment(kind, service, folder)

    return start
