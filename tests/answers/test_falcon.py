"""``shmstream.falcon``: what is not of gunicorn's workers."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest

from shmstream import LocalError, Producer, Streams, owner_of
from shmstream.falcon import Answers, WsgiAnswers
from tests.answers.deployments import starter
from tests.asgi.in_process import scope
from tests.producing.scripted import Gate
from tests.producing.steered import AFTER, BEFORE, FIRST, WHOLE
from tests.servers.asgi import AsgiServer
from tests.support.client import TIMEOUT_S, Live
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.overtaken import cut_by_the_ring
from tests.support.service import Service

TEXT = b'data: a\n\ndata: b\n\n'


def model() -> Iterator[str]:
    yield from 'ab'


class Chat(WsgiAnswers):
    """POST begins an answer."""

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, conv_id: str = 'x', **_: str
    ) -> None:
        self.start(req, resp, conv_id, model())


class AsyncChat(Answers):
    """The same under ASGI."""

    async def on_post(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        conv_id: str = 'x',
        **_: str,
    ) -> None:
        await self.start(req, resp, conv_id, model())


def application(kind: str, streams: Streams, template: str, **options: Any) -> Any:
    """An application with one route."""
    app: Any = falcon.App() if kind == 'wsgi' else falcon.asgi.App()
    cls: Any = Chat if kind == 'wsgi' else AsyncChat
    chat = cls(streams=streams, **options)
    app.add_route(template, chat)
    app.add_route('/lookup', chat, suffix='lookup')
    return app


KINDS = pytest.mark.parametrize('kind', ['wsgi', 'asgi'])


@KINDS
@pytest.mark.parametrize(
    ('template', 'prefix', 'path', 'root', 'address'),
    [
        ('/chat/{conv_id}', None, '/chat/a', '', '/chat/a'),
        (
            '/{room}/chat/{conv_id}',
            None,
            '/7%208/chat/%C3%A4',
            '',
            '/7%208/chat/%C3%A4',
        ),
        ('/{conv_id}', None, '/a', '/mounted', '/mounted/a'),
        ('/chat', '/chats', '/chat', '/mounted', '/mounted/chats/x'),
        ('/chat', None, '/chat', '', None),
    ],
    ids=['plain', 'room', 'mounted', 'prefix', 'unknown'],
)
def test_the_address_of_an_answer_is_that_of_its_client(
    streams: Streams,
    kind: str,
    template: str,
    prefix: str | None,
    path: str,
    root: str,
    address: str | None,
) -> None:
    client = falcon.testing.TestClient(
        application(kind, streams, template, prefix=prefix)
    )
    result = client.simulate_post(path, root_path=root or None)
    assert result.content == TEXT
    assert result.headers.get('content-location') == address


@KINDS
def test_an_answer_is_read_and_stopped(streams: Streams, kind: str) -> None:
    client = falcon.testing.TestClient(application(kind, streams, '/chat/{conv_id}'))
    assert client.simulate_post('/chat/a').headers['content-type'] == (
        'text/event-stream'
    )
    assert client.simulate_get('/chat/a?from=9').content == TEXT[9:]
    assert client.simulate_get('/chat/?conv_id=a').content == TEXT
    head = client.simulate_head('/chat/a')
    assert head.headers['content-length'] == str(len(TEXT))
    body = {'conversation_ids': ['a', 'b']}
    (found,) = client.simulate_post('/lookup', json=body).json
    assert found['conversation_id'] == 'a'
    assert client.simulate_delete('/chat/a').status_code == 204
    assert client.simulate_get('/chat/a').status_code == 404
    assert client.simulate_get('/chat/').status_code == 400
    assert client.simulate_post('/chat/' + 'a' * 513).status_code == 400
    with streams.create('a') as producer:
        producer.write(TEXT)
        head = client.simulate_head('/chat/a')
    assert 'content-length' not in head.headers


@KINDS
@pytest.mark.parametrize('size', [65536, 3_000_000])
def test_what_has_ended_is_sent_with_its_length(
    streams: Streams, kind: str, size: int
) -> None:
    data = bytes(range(256)) * (size // 256)
    with streams.create('a', capacity=4 << 20) as producer:
        producer.write(data)
    client = falcon.testing.TestClient(application(kind, streams, '/chat/{conv_id}'))
    reply = client.simulate_get('/chat/a?from=3')
    assert reply.content == data[3:]
    assert reply.headers['content-length'] == str(len(data) - 3)
    assert streams._process.followers.number == 0


@KINDS
def test_the_mistakes_of_the_application_are_told_to_its_handler(
    streams: Streams, kind: str
) -> None:
    class Wrong(Chat):
        def on_post(self, req: Any, resp: Any, conv_id: str = '', **_: str) -> None:
            with pytest.raises(LocalError):
                self.start(req, resp, 'a', 'no source')
            resp.text = 'told'

    class AsyncWrong(AsyncChat):
        async def on_post(
            self, req: Any, resp: Any, conv_id: str = '', **_: str
        ) -> None:
            with pytest.raises(LocalError):
                await self.start(req, resp, 'a', 'no source')
            resp.text = 'told'

    app: Any = falcon.App() if kind == 'wsgi' else falcon.asgi.App()
    resource = Wrong(streams=streams) if kind == 'wsgi' else AsyncWrong(streams=streams)
    app.add_route('/{conv_id}', resource)
    assert falcon.testing.TestClient(app).simulate_post('/a').text == 'told'


APP = 'tests.answers.falcon_asgi_app:app'
SERVERS: dict[str, tuple[tuple[str, ...], int]] = {
    'uvicorn': (('uvicorn', APP, '--port', '{port}', '--workers', '2'), 2),
    'hypercorn': (('hypercorn', APP, '-b', '127.0.0.1:{port}'), 1),
    'granian': (('granian', '--interface', 'asgi', APP, '--port', '{port}'), 1),
}


@pytest.fixture(params=matrix(SERVERS, 'uvicorn'))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AsgiServer]:
    """ASGI servers that are not gunicorn."""
    command, workers = SERVERS[request.param]
    with AsgiServer(
        request.param,
        tmp_path / 'log',
        {'SESSION_BYTES': '65536'},
        command=command,
        workers=workers,
        environment={'PRODUCING_FOLDER': str(tmp_path)},
    ) as started:
        yield started


def begin(server: AsgiServer) -> Live:
    asked = {'name': 'a', 'before': BEFORE, 'after': AFTER}
    body = json.dumps(asked).encode()
    headers = {'Content-Type': 'application/json'}
    live = server.client().open('POST', '/chats/a', body, headers)
    live.until(len(FIRST))
    return live


def created(streams: Streams) -> Producer:
    """A stream that this process writes, for the application's clients."""
    return streams.create('b', owner=owner_of('somebody'))


def test_another_server_streams_resumes_and_stops(
    server: AsgiServer, tmp_path: Path
) -> None:
    with begin(server) as live, server.client().open('GET', '/chats/a?from=9') as tab:
        Gate(tmp_path, 'a').open()
        assert live.rest() == WHOLE
        assert tab.rest() == WHOLE[9:]
        assert live.whole
        assert tab.whole
    assert server.client().delete('/chats/a').status == 204
    assert server.client().get('/chats/a').status == 404
    assert 'Traceback' not in server.text()


def test_another_server_drains_what_its_workers_write(
    server: AsgiServer, tmp_path: Path
) -> None:
    """1. SIGTERM. 2. The source goes on. 3. The response of its POST is whole."""
    with begin(server) as live, server.client().open('GET', '/chats/a') as tab:
        tab.until(len(FIRST))
        server.terminate()
        # hypercorn shows its end in its ``send`` only: nobody is let go there.
        if server.name != 'hypercorn':
            tab.rest()
            assert tab.whole is False
        Gate(tmp_path, 'a').open()
        assert live.rest() == WHOLE
        assert live.whole
        server.wait()
    assert Gate(tmp_path, 'a').closed() == 'ended'


def test_another_server_cuts_a_reader_that_is_overtaken(server: AsgiServer) -> None:
    with (
        Streams.attach(server.directory) as streams,
        created(streams) as producer,
        server.client().open('GET', '/chats/b') as live,
    ):
        producer.write(b'data: 1\n\n')
        live.until(1)
        assert cut_by_the_ring(live, producer)
        assert wait_until(lambda: not producer.followers)
    if server.name == 'uvicorn':
        assert 'Traceback' not in server.text()


def test_another_server_notices_that_a_reader_of_a_quiet_stream_has_left(
    server: AsgiServer,
) -> None:
    with Streams.attach(server.directory) as streams, created(streams) as producer:
        producer.write(b'data: 1\n\n')
        for body in (None, b'x'):
            with server.client().open('GET', '/chats/b', body) as live:
                live.until(1)
                assert wait_until(lambda: producer.followers == 1)
            assert wait_until(lambda: not producer.followers)
    assert 'Traceback' not in server.text()


def take_nothing(port: int) -> socket.socket:
    """Ask for the stream, with little room for it, and read none of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(('127.0.0.1', port))
    sock.sendall(b'GET /chats/b HTTP/1.1\r\nHost: a\r\n\r\n')
    return sock


def filled(streams: Streams) -> Producer:
    """A stream of 16 MiB, which goes on."""
    producer = streams.create('b', owner=owner_of('somebody'), capacity=32 << 20)
    for _ in range(256):
        producer.write(bytes(65536))
    return producer


def is_cut(sock: socket.socket) -> bool:
    """Read what is left; returns whether it is not the whole response."""
    sock.settimeout(TIMEOUT_S)
    data = b''
    with suppress(ConnectionError):
        while part := sock.recv(65536):
            data += part
    return len(data) < 16 << 20 and not data.endswith(b'0\r\n\r\n')


@pytest.mark.parametrize(
    'kind', matrix(('gunicorn', 'uvicorn', 'hypercorn'), 'gunicorn')
)
def test_a_reader_that_takes_nothing_is_cut(
    serve: Callable[..., Service], tmp_path: Path, kind: str
) -> None:
    settings = {'SEND_TIMEOUT': '1'}
    with ExitStack() as stack:
        server: Service | AsgiServer
        if kind == 'gunicorn':
            server = starter('falcon-asgi', serve, tmp_path)(**settings).server
        else:
            command, workers = SERVERS[kind]
            log = tmp_path / 'log'
            server = stack.enter_context(
                AsgiServer(kind, log, settings, command=command, workers=workers)
            )
        streams = stack.enter_context(Streams.attach(server.directory))
        producer = stack.enter_context(filled(streams))
        sock = stack.enter_context(take_nothing(server.port))
        assert wait_until(lambda: producer.followers == 1)
        assert wait_until(lambda: not producer.followers)
        assert is_cut(sock)


def test_a_reader_that_takes_nothing_of_an_ended_stream_is_cut(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    there = starter('falcon-asgi', serve, tmp_path)(SEND_TIMEOUT='1')
    with Streams.attach(there.server.directory) as streams:
        filled(streams).finish()
        with take_nothing(there.server.port) as sock:
            assert wait_until(lambda: 'a reader was cut' in there.server.text())
            assert is_cut(sock)


def stop_with(app: Any, events: list[dict[str, Any]], headers: list[Any]) -> int:
    """The status of a POST that stops ``a``, by an ASGI application."""
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asked = scope('/chat/a/stop', 'POST')
    asked['headers'] += headers
    asyncio.run(app(asked, receive, send))
    return int(sent[0]['status'])


@KINDS
def test_a_stop_whose_body_is_lost_stops_nothing(streams: Streams, kind: str) -> None:
    app = application(kind, streams, '/chat/{conv_id}')
    cls: Any = Chat if kind == 'wsgi' else AsyncChat
    app.add_route('/chat/{conv_id}/stop', cls(streams=streams), suffix='stop')
    client = falcon.testing.TestClient(app)
    with streams.create('a') as producer:
        producer.write(TEXT)
        if kind == 'wsgi':
            for body, length in ((b'', '9'), (b'{}', '9'), (b'{}', '')):
                environ = falcon.testing.create_environ('/chat/a/stop', method='POST')
                environ |= {'wsgi.input': io.BytesIO(body), 'CONTENT_LENGTH': length}
                if not length:
                    environ['HTTP_TRANSFER_ENCODING'] = 'chunked'
                started: list[Any] = []
                app(environ, lambda *start, seen=started: seen.append(start))
                assert started[0][0][:3] == ('400' if length else '411')
        else:
            gone = {'type': 'http.disconnect'}
            for sent in (b'', b' ', b'{}'):
                for headers in ([], [(b'content-length', b'9')]):
                    part = {'type': 'http.request', 'body': sent, 'more_body': True}
                    assert stop_with(app, [part, gone], headers) == 400
        assert producer.write(TEXT)
        assert client.simulate_post('/chat/a/stop', body=b'{}').status_code == 200
        assert not producer.write(TEXT)
