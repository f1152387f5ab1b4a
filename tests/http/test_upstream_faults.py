"""An upstream that is not there, is slow, or wants to know who asks."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.http.conftest import Watch
from tests.http.proxied import Proxied, proxied_service
from tests.http.wire import ask, assert_error, numbered
from tests.support.client import Client, path
from tests.support.leaks import wait_until
from tests.support.service import Service
from tests.support.upstream import Exchange

FIRST_BYTE_S = 0.5
SLACK_S = 5.0


@pytest.fixture(scope='module')
def strict_module(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Proxied]:
    """Few seconds for the upstream, a key for it, and a path in its URL."""
    log = tmp_path_factory.mktemp('strict') / 'service.log'
    settings = {
        'UPSTREAM_FIRST_BYTE_TIMEOUT': str(FIRST_BYTE_S),
        'UPSTREAM_API_KEY': 'the-services',
    }
    with proxied_service(log, workers=3, base='/base/', **settings) as proxied:
        watch_module(proxied.service)
        yield proxied


@pytest.fixture
def strict(strict_module: Proxied) -> Iterator[Proxied]:
    yield strict_module
    strict_module.clear()


def assert_no_session(client: Client, conv_id: str) -> None:
    assert client.lookup(conv_id) == []
    assert client.get(path(conv_id)).status == 404


@pytest.mark.parametrize('conv_id', [None, 'slow'])
def test_an_upstream_that_does_not_answer_in_time_is_504(
    strict: Proxied, conv_id: str | None
) -> None:
    feed = strict.feed(pending=True)
    with strict.client.post(conv_id, {'feed': feed.token}) as post:
        assert_error(post, 504, 'upstream')
        assert 'stream-generation' not in post.headers
    assert feed.hung_up(SLACK_S)
    assert_no_session(strict.client, 'slow')


@pytest.mark.parametrize('conv_id', [None, 'mute'])
def test_an_upstream_that_hangs_up_without_an_answer_is_502(
    strict: Proxied, conv_id: str | None
) -> None:
    strict.script = lambda exchange: exchange.break_off()
    with strict.client.post(conv_id, {}) as post:
        assert_error(post, 502, 'upstream')
    assert_no_session(strict.client, 'mute')


def test_waiting_gets_are_told_when_the_upstream_fails(strict: Proxied) -> None:
    feed = strict.feed(pending=True)
    body = json.dumps({'feed': feed.token, 'stream': True}).encode()
    header = {'X-Conversation-Id': 'failing'}
    with pytest.raises(TimeoutError):
        strict.client.open('POST', '/v1/x', body, header, timeout_s=FIRST_BYTE_S / 5)
    # Many: what they see must not depend on the instant at which they look.
    with ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(strict.client.get, path('failing')) for _ in range(24)]
        for reply in waiting:
            assert_error(reply.result(), 404, 'Stream not found')


@pytest.mark.parametrize('sent', [None, 'Bearer the-clients'])
@pytest.mark.parametrize('conv_id', [None, 'key'])
def test_the_services_key_replaces_the_clients(
    strict: Proxied, sent: str | None, conv_id: str | None
) -> None:
    seen: list[Exchange] = []

    def script(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.reply(200, numbered(16), ('Content-Type', 'text/event-stream'))

    strict.script = script
    headers = {} if sent is None else {'Authorization': sent}
    with strict.client.post(conv_id, {}, **headers) as post:
        assert post.rest() == numbered(16)
    (exchange,) = seen
    keys = [v for n, v in exchange.headers if n.lower() == 'authorization']
    assert keys == ['Bearer the-services']


def test_the_upstreams_url_may_have_a_path(strict: Proxied) -> None:
    seen: list[str] = []

    def script(exchange: Exchange) -> None:
        seen.append(exchange.target)
        exchange.reply(200, b'')

    strict.script = script
    for target in ('/', '/v1/models?a=%2F', '//x'):
        assert ask(strict.service.port, f'GET {target}').status == 200
    assert seen == ['/base/', '/base/v1/models?a=%2F', '/base//x']


def test_an_answer_to_a_key_is_not_shown_the_client(strict: Proxied) -> None:
    strict.script = lambda exchange: exchange.reply(
        401, b'{}', ('WWW-Authenticate', 'Bearer')
    )
    reply = strict.client.get('/v1/models')
    assert reply.status == 401
    assert b'the-services' not in reply.body
    assert 'the-services' not in strict.service.text()


@contextlib.contextmanager
def blunt_upstream(answer: bytes) -> Iterator[str]:
    """One that sends these bytes to whoever connects, and hangs up."""
    listener = socket.create_server(('127.0.0.1', 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock:
                    sock.recv(65536)
                    sock.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{listener.getsockname()[1]}'
    finally:
        # Closing alone does not end an accept().
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


@pytest.mark.parametrize(
    'answer',
    [
        b'',
        b'SSH-2.0-OpenSSH_9.6\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Le',
        b'HTTP/1.1 2000 OK\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nX-Long: ' + b'x' * 200_000 + b'\r\n\r\n',
    ],
    ids=['nothing', 'other', 'cut', 'status', 'long'],
)
def test_nonsense_from_upstream_is_502(
    serve: Callable[..., Service], answer: bytes
) -> None:
    with blunt_upstream(answer) as url:
        client = serve(workers=1, settings={'UPSTREAM': url}).client()
        for conv_id in (None, 'nonsense'):
            with client.post(conv_id, {}) as post:
                assert_error(post, 502, 'upstream')
        assert_no_session(client, 'nonsense')


def test_a_stream_that_ends_with_its_connection_is_complete(
    serve: Callable[..., Service],
) -> None:
    head = b'HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n'
    with blunt_upstream(head + numbered(160)) as url:
        client = serve(workers=1, settings={'UPSTREAM': url}).client()
        with client.post('old', {}) as post:
            assert post.rest() == numbered(160)
        assert wait_until(lambda: bool(client.lookup('old')[0]['is_done']))
        assert client.lookup('old')[0]['state'] == 'complete'


def test_an_upstream_that_is_not_there_is_502(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    # Closed: nobody listens there now.
    service = serve(workers=1, settings={'UPSTREAM': f'http://127.0.0.1:{port}'})
    client = service.client()
    assert_error(client.get('/v1/models'), 502, 'upstream cannot be reached')
    with client.post('there', {}) as post:
        assert_error(post, 502, 'upstream cannot be reached')
    assert_no_session(client, 'there')
    # What needs no upstream works on.
    assert client.get('/healthz').status == 200
