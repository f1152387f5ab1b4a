"""The examples that the README shows, run as the README says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.leaks import wait_until
from tests.support.service import ROOT, Service

CONFIG = ROOT / 'examples' / 'gunicorn.conf.py'
PROMPT = ' '.join(str(number) for number in range(100))
WHOLE = ''.join(f'data: {number}\n\n' for number in range(100)).encode()


@pytest.mark.parametrize(
    ('arguments', 'ready', 'streams'),
    [
        (('examples.falcon_app:app',), 'ASGI server listening', True),
        (
            ('-k', 'gthread', '--threads', '8', 'examples.flask_app:app'),
            'Booting worker',
            True,
        ),
        (
            ('-k', 'gthread', '--threads', '8', 'examples.wsgi_app:app'),
            'Booting worker',
            False,
        ),
    ],
    ids=['falcon', 'flask', 'wsgi'],
)
def test_an_example_resumes_and_stops_across_workers(
    serve: Callable[..., Service],
    arguments: tuple[str, ...],
    ready: str,
    streams: bool,
) -> None:
    service = serve(workers=2, config=CONFIG, arguments=arguments, ready=ready)
    client = service.client()

    def started() -> bool:
        with client.open('GET', '/chats/a') as live:
            return live.status == 200

    with client.open('POST', '/chats/a', PROMPT.encode()) as post:
        assert post.status == (200 if streams else 202)
        assert wait_until(started)
        with client.open('GET', '/chats/a') as live:
            assert live.rest() == WHOLE
        assert post.rest() == (WHOLE if streams else b'')
    for _ in range(4):
        assert client.get('/chats/a?from=100').body == WHOLE[100:]
    assert client.delete('/chats/a').status == 204
    assert client.get('/chats/a').status == 404
    assert client.get('/chats/never').status == 404
