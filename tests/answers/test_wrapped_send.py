"""The server's own ``send`` is found behind the wrappers of FastAPI and starlette."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from shmstream.asgi.servers_send import is_servers_own, servers_send
from shmstream.asgi.task_middleware import servers_side
from shmstream.deploy.direct_writer import DirectWriter
from tests.answers.asgi_deployments import deployment
from tests.asgi.in_process import messages, scope
from tests.producing.steered import FIRST

ORIGIN = 'https://example.org'


class _Seen(Response):
    """Keeps what the framework gives to a response."""

    def __init__(self, seen: dict[str, Any]) -> None:
        super().__init__()
        self._seen = seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._seen |= {'receive': receive, 'send': send}
        await super().__call__(scope, receive, send)


def given(add: Callable[[FastAPI], object]) -> tuple[dict[str, Any], Any]:
    """What a response of an application is given, and what the server has given."""
    seen: dict[str, Any] = {}
    app = FastAPI()
    add(app)

    @app.get('/')
    async def root() -> Response:
        return _Seen(seen)

    def served(scope: Any, receive: Any, send: Any) -> Any:
        seen['servers'] = send
        return app(scope, receive, send)

    asyncio.run(messages(served, scope('/', origin=ORIGIN)))
    return seen, seen['servers']


def with_cors(app: FastAPI) -> None:
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN])


def with_gzip(app: FastAPI) -> None:
    app.add_middleware(GZipMiddleware)


async def passed_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


def with_base(app: FastAPI) -> None:
    app.add_middleware(BaseHTTPMiddleware, dispatch=passed_on)


def with_two(app: FastAPI) -> None:
    with_base(app)
    with_cors(app)
    with_base(app)


@pytest.mark.parametrize('add', [lambda _: None, with_cors], ids=['plain', 'cors'])
def test_the_servers_send_is_found(add: Callable[[FastAPI], object]) -> None:
    """It fails if a new version wraps ``send`` in another way: then the body is sent
    through all wrappers, which is slower."""
    seen, server = given(add)
    assert seen['send'] is not server
    assert servers_send(seen['send']) is server


@pytest.mark.parametrize('add', [with_gzip, with_base], ids=['gzip', 'base'])
def test_what_may_change_bodies_is_not_skipped(
    add: Callable[[FastAPI], object],
) -> None:
    seen, server = given(add)
    found = servers_send(seen['send'])
    assert found is not server
    assert not is_servers_own(found)


@pytest.mark.parametrize(
    ('add', 'count'),
    [(with_gzip, 0), (with_base, 1), (with_two, 2)],
    ids=['gzip', 'base', 'two'],
)
def test_the_connection_is_found_behind_it(
    add: Callable[[FastAPI], object], count: int
) -> None:
    seen, server = given(add)
    assert servers_side(seen['receive'], seen['send']) == (server, count)


def test_a_response_is_cut_behind_two_tasks() -> None:
    """Not a byte, and no end, comes after the cut."""
    from shmstream.asgi.other_servers import exchange
    from shmstream.asgi.stalled import Reader, Readers

    app = FastAPI()
    with_two(app)

    async def cut(_scope: Any, _receive: Any, reader: Reader) -> None:
        start = {'type': 'http.response.start', 'status': 200, 'headers': []}
        await reader.send_head(start)
        body = {'type': 'http.response.body', 'body': b'some', 'more_body': True}
        await reader.send(body)
        raise asyncio.CancelledError

    class Cut(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await exchange(cut, Readers(5), scope, receive, send)

    @app.get('/')
    async def root() -> Response:
        return Cut()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        if not asked:
            asked.append(True)
            return {'type': 'http.request', 'body': b'', 'more_body': False}
        await asyncio.sleep(60)

    asked: list[bool] = []
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(app(scope('/'), receive, send))
    assert [message.get('more_body') for message in sent] == [None, True]


@pytest.mark.parametrize('variant', ['plain', 'cors', 'gzip', 'base'])
def test_events_are_written_to_the_transport(
    variant: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Under gunicorn: the body goes the cheapest way where nothing can change it."""
    folder = tmp_path_factory.mktemp('direct')
    app = 'tests.answers.direct_app:app'
    with deployment('gunicorn', app, folder, workers=1) as there:
        target = f'/{variant}/chat/a'
        headers = {'Origin': ORIGIN}
        with there.begin('/plain/chat/a', 'a') as post:
            with there.client.open('GET', target, None, headers) as live:
                live.until(len(FIRST))
                there.gate('a').open()
                live.rest()
                post.rest()
            assert live.whole
        written = (folder / 'written').read_text().split()
    assert DirectWriter.__name__ in written
    expected = 2 if variant in ('plain', 'cors') else 1
    assert written.count(DirectWriter.__name__) == expected
