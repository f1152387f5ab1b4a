"""The examples that the README shows, run as the README says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.client import Client
from tests.support.leaks import wait_until
from tests.support.service import ROOT, Service

CONFIG = ROOT / 'examples' / 'gunicorn.conf.py'
PROMPT = ' '.join(str(number) for number in range(100))
WHOLE = ''.join(f'data: {number}\n\n' for number in range(100)).encode()


def started(client: Client) -> bool:
    with client.open('GET', '/chats/a') as live:
        return live.status == 200


@pytest.mark.parametrize(
    ('arguments', 'ready'),
    [
        (('examples.falcon_app:app',), 'ASGI server listening'),
        (
            ('-k', 'gthread', '--threads', '8', 'examples.wsgi_app:app'),
            'Booting worker',
        ),
    ],
    ids=['falcon', 'wsgi'],
)
def test_an_example_resumes_and_stops_across_workers(
    serve: Callable[..., Service], arguments: tuple[str, ...], ready: str
) -> None:
    service = serve(workers=2, config=CONFIG, arguments=arguments, ready=ready)
    client = service.client()
    assert client.call('POST', '/chats/a', PROMPT.encode()).status == 202
    assert wait_until(lambda: started(client))
    with client.open('GET', '/chats/a') as live:
        assert live.rest() == WHOLE
    for _ in range(4):
        assert client.get('/chats/a?from=100').body == WHOLE[100:]
    assert client.delete('/chats/a').status == 204
    assert client.get('/chats/a').status == 404
    assert client.get('/chats/never').status == 404
