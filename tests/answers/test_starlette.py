"""``Answers`` in a Starlette and in a FastAPI application, called in process."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

import shmstream.fastapi
import shmstream.starlette
from shmstream import LocalError, Streams, SupervisorConfig, browser, starlette
from shmstream.answers import asgi
from shmstream.ids import NOBODY
from shmstream.producing.running import here
from shmstream.serving import Verdict, refusal
from tests.support.supervisor import stop

WHOLE = b'data: one\n\ndata: two\n\n'

BY_QUERY = '/?conv_id='


async def model() -> AsyncIterator[str]:
    yield 'one'
    yield 'two'


def routes_of(answers: shmstream.starlette.Answers, path: str) -> list[Any]:
    async def ask(request: Request) -> Response:
        return answers.start(request.path_params['chat'], model())

    return [*answers.routes, Route(path, ask, methods=['POST'])]


def fastapi_of(
    answers: shmstream.fastapi.Answers, path: str, prefix: str = ''
) -> FastAPI:
    app = FastAPI()
    app.include_router(answers.router, prefix=prefix)
    begin_at(app, answers, prefix + path)
    return app


def begin_at(
    app: FastAPI | APIRouter, answers: shmstream.starlette.Answers, path: str
) -> None:
    @app.post(path)
    async def ask(request: Request) -> Response:
        return answers.start(request.path_params['chat'], model())


def test_a_starlette_application(streams: Streams, conv_id: str) -> None:
    """Begin, read, look up and stop; the lifespan leaves no drain behind."""
    answers = shmstream.starlette.Answers('/chat', streams=streams)
    app = Starlette(
        routes=routes_of(answers, '/chat/{chat}'), lifespan=answers.lifespan
    )
    before = here.drain
    with TestClient(app) as client:
        assert here.drain is not before
        begun = client.post(f'/chat/{conv_id}')
        assert begun.content == WHOLE
        location = begun.headers['content-location']
        assert location == f'/chat/{conv_id}'
        assert client.get(f'{location}?from=5').content == WHOLE[5:]
        assert client.head(location).headers['stream-state'] == 'complete'
        asked = {'conversation_ids': [conv_id]}
        (found,) = client.post('/chat/lookup', json=asked).json()
        assert found['total_bytes'] == len(WHOLE)
        assert client.delete(location).status_code == 204
        assert client.get(location).status_code == 404
        assert client.get('/chat/shmstream.js').content == browser.module()
    assert here.drain is before


def test_a_test_client_may_start_an_application_again(
    streams: Streams, conv_id: str
) -> None:
    answers = shmstream.fastapi.Answers('/chat', streams=streams)
    app = fastapi_of(answers, '/chat/{chat}')
    for number in range(3):
        with TestClient(app) as client:
            assert client.post(f'/chat/{conv_id}-{number}').content == WHOLE


def located(
    app: Any, path: str, root_path: str = '', begins: str = '', base: str = 'http://h'
) -> str:
    """Begin an answer, and read it at the address that is told; returns the address."""
    client = TestClient(app, base_url=base, root_path=root_path)
    begun = client.post(path)
    assert begun.content == WHOLE
    location: str = begun.headers['content-location']
    assert location.startswith(begins)
    assert client.get(location.removeprefix(begins)).content == WHOLE
    return location


def test_addresses_of_streams(streams: Streams, conv_id: str) -> None:
    """Wherever the routes are included, the address leads to the stream."""
    answers = shmstream.fastapi.Answers('/chat', streams=streams)
    app = fastapi_of(answers, '/chat/{chat}', '/v1')
    assert located(app, f'/v1/chat/{conv_id}') == f'/v1/chat/{conv_id}'
    behind = located(app, f'/v1/chat/{conv_id}', '/proxy', '/proxy')
    assert behind == f'/proxy/v1/chat/{conv_id}'
    for name in (None, 'sub'):
        outer = FastAPI()
        outer.mount('/api', app, name)
        found = located(outer, f'/api/v1/chat/{conv_id}')
        assert found == f'/api/v1/chat/{conv_id}'
        outermost = FastAPI()
        outermost.mount('/all', outer, name)
        found = located(outermost, f'/all/api/v1/chat/{conv_id}')
        assert found == f'/all/api/v1/chat/{conv_id}'


def test_addresses_below_a_parameter(streams: Streams, conv_id: str) -> None:
    """The path of the routes has a parameter that the request has, too."""
    answers = shmstream.fastapi.Answers('/chat', streams=streams)
    app = fastapi_of(answers, '/chat/{chat}', '/users/{user}')
    found = located(app, f'/users/ann/chat/{conv_id}')
    assert found == f'/users/ann/chat/{conv_id}'
    assert located(app, f'/users/%C3%BC b/chat/{conv_id}').startswith(
        '/users/%C3%BC%20b'
    )
    routed = shmstream.starlette.Answers('/chat', streams=streams)
    mount = Mount('/users/{user}', routes=routes_of(routed, '/chat/{chat}'))
    found = located(Starlette(routes=[mount]), f'/users/ann/chat/{conv_id}')
    assert found == f'/users/ann/chat/{conv_id}'


def test_an_address_that_is_not_known_is_not_told(
    streams: Streams, conv_id: str
) -> None:
    """The routes have a parameter that the request has not, or are not included."""
    answers = shmstream.fastapi.Answers('/chat', streams=streams)
    for prefix in ('/users/{user}', None):
        app = FastAPI()
        if prefix is not None:
            app.include_router(answers.router, prefix=prefix)
        begin_at(app, answers, '/ask/{chat}')
        begun = TestClient(app).post(f'/ask/{conv_id}')
        assert begun.content == WHOLE
        assert 'content-location' not in begun.headers


def test_two_groups_of_answers_in_one_application(
    streams: Streams, conv_id: str
) -> None:
    """Without prefixes of their own they are told apart by where they are included."""
    groups = [shmstream.fastapi.Answers(streams=streams) for _ in range(2)]
    app = FastAPI()
    for number, answers in enumerate(groups):
        app.include_router(answers.router, prefix=f'/group{number}')
        begin_at(app, answers, f'/group{number}/{{chat}}')
    for number in range(2):
        target = f'/group{number}/{conv_id}-{number}'
        assert located(app, target) == target


def test_special_ids_have_addresses(streams: Streams, conv_id: str) -> None:
    answers = shmstream.fastapi.Answers('/chat', streams=streams)
    app = FastAPI()
    app.include_router(answers.router)
    begin_at(app, answers, '/chat/{chat:path}')
    for name in ('a/b', 'ü ?&#', 'x::y', '100%', '..'):
        chat = f'{conv_id}{name}' if name != '..' else name
        from urllib.parse import quote

        target = '/chat/' + quote(chat, safe='').replace('..', '%2E%2E')
        located(app, target)


def test_the_description_is_complete_and_warns_of_nothing(streams: Streams) -> None:
    """Every parameter of a path is described, and no operation has another's id."""
    app = FastAPI()
    for prefix in ('/chat', '/jobs'):
        answers = shmstream.fastapi.Answers(prefix, streams=streams)
        app.include_router(answers.router)
        begin_at(app, answers, prefix + '/{chat}')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        schema = app.openapi()
    ids = []
    for path, operations in schema['paths'].items():
        for method, operation in operations.items():
            ids.append(operation['operationId'])
            described = {
                each['name']
                for each in operation.get('parameters', ())
                if each['in'] == 'path'
            }
            if '{conv_id}' in path:
                assert described == {'conv_id'}, (path, method)
            assert method != 'head'
    assert len(ids) == len(set(ids))
    assert schema['paths']['/chat/{conv_id}']['get']['summary'] == 'Read an answer'
    assert TestClient(app).get('/docs').status_code == 200


def test_the_description_is_the_same_in_each_process(streams: Streams) -> None:
    """Whatever other applications have been made before."""

    def described() -> Any:
        answers = shmstream.fastapi.Answers('/chat', streams=streams)
        return fastapi_of(answers, '/chat/{chat}').openapi()

    assert described() == described()


@pytest.mark.parametrize(
    ('source', 'format'),
    [('a text', 'sse'), (5, 'sse'), ([], 'xml')],
    ids=['text', 'number', 'format'],
)
def test_a_mistake_of_the_application_is_raised_in_its_handler(
    streams: Streams, source: Any, format: str
) -> None:
    answers = shmstream.starlette.Answers('/chat', streams=streams)
    with pytest.raises(LocalError):
        answers.start('a', source, format=format)


class Closing:
    """A source that notes that it is closed."""

    closed = False

    async def __aiter__(self) -> AsyncIterator[str]:
        yield 'one'

    async def aclose(self) -> None:
        self.closed = True


def test_a_wrong_id_is_the_clients_mistake(streams: Streams) -> None:
    answers = shmstream.fastapi.Answers('/chat', streams=streams)
    source = Closing()
    app = FastAPI()

    @app.post('/chat/{chat}')
    async def ask(chat: str) -> Response:
        return answers.start(chat, source)

    refused = TestClient(app).post('/chat/' + 'x' * 600)
    assert refused.status_code == 400
    assert refused.json()['error']['type'] == 'invalid_request_error'
    assert source.closed


@pytest.mark.parametrize('status', [200, 403, 400], ids=['begun', 'refused', 'id'])
def test_background_tasks_run_only_if_the_answer_has_begun(
    streams: Streams, conv_id: str, status: int
) -> None:
    """The handler has added them before ``permit`` is asked."""
    done: list[str] = []

    def permit(_: Request) -> Verdict:
        return NOBODY if status != 403 else refusal(403, 'Log in first')

    answers = shmstream.fastapi.Answers('/chat', permit, streams=streams)
    app = FastAPI()

    @app.post('/chat/{chat}')
    async def ask(chat: str, tasks: BackgroundTasks) -> Response:
        tasks.add_task(done.append, 'done')
        return answers.start(chat, model())

    long = 'x' * 600 if status == 400 else ''
    assert TestClient(app).post(f'/chat/{conv_id}{long}').status_code == status
    assert done == ['done'] * (status == 200)


@pytest.fixture
def small(directory: Path) -> Iterator[Streams]:
    """A deployment with room for one stream."""
    config = SupervisorConfig(capacity=65536, max_sessions=1)
    with Streams.attach(directory, supervise=config) as attached:
        attached.connect()
        supervisor = attached.status()['pid']
        yield attached
    stop(supervisor)


def test_no_room_is_told(small: Streams) -> None:
    """503, and when to come back."""
    answers = shmstream.fastapi.Answers('/chat', streams=small)
    app = fastapi_of(answers, '/chat/{chat}')
    with small.create('other'):
        refused = TestClient(app).post('/chat/one')
        assert refused.status_code == 503
        assert int(refused.headers['retry-after']) > 0
    assert TestClient(app).post('/chat/one').content == WHOLE


def test_who_forgets_the_lifespan_is_warned_once(
    streams: Streams,
    conv_id: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mounted application's lifespan is never run: its answers would be lost."""
    monkeypatch.setattr(here, 'drain', None)
    asgi._warn_once.cache_clear()
    answers = shmstream.fastapi.Answers('/chat', streams=streams)
    client = TestClient(fastapi_of(answers, '/chat/{chat}'))
    with caplog.at_level(logging.WARNING, 'shmstream'):
        for number in range(2):
            client.post(f'/chat/{conv_id}-{number}')
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'lifespan' in caplog.text


class _Chunk(bytes):
    """Some bytes of a body, which notice that what came before them is copied."""

    def __radd__(self, before: Any) -> Any:
        assert not isinstance(before, bytes), 'all of the body is copied for each chunk'
        return NotImplemented


def test_a_body_of_many_chunks_is_not_copied_for_each() -> None:
    async def receive() -> Any:
        return {'type': 'http.request', 'body': _Chunk(b'x'), 'more_body': True}

    async def read() -> bytes:
        asked = Request({'type': 'http', 'method': 'POST', 'headers': []}, receive)
        return await starlette._body(asked, 9)

    assert asyncio.run(read()) == b'x' * 10
