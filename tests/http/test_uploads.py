"""Request bodies on their way to the upstream."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

from tests.http.proxied import Proxied
from tests.http.wire import ask, chunked, connect, numbered, parse, read_to_end, unchunk
from tests.support.client import path
from tests.support.service import Service
from tests.support.upstream import Exchange

TEXT = ('Content-Type', 'text/plain')


def test_chunked_uploads_arrive_whole(proxied: Proxied) -> None:
    seen: list[Exchange] = []

    def script(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.reply(200, exchange.body, TEXT)

    proxied.script = script
    whole = numbered(300_000)
    for piece in (1000, 70_000, 300_000):
        raw = ask(
            proxied.service.port,
            'POST /v1/files',
            ('Transfer-Encoding', 'chunked'),
            body=chunked(whole, piece),
        )
        assert raw.body == whole
        # Its length is not known, and nobody makes one up.
        assert seen.pop().header('Content-Length') is None


def test_a_sessions_body_is_sent_on_whole(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(16))
    feed.end()
    body = json.dumps({'feed': feed.token, 'text': 'x' * 200_000}).encode()
    headers = {'X-Conversation-Id': 'upload', 'Transfer-Encoding': 'chunked'}
    with proxied.client.open('POST', '/v1/x', chunked(body, 50_000), headers) as post:
        assert post.rest() == numbered(16)
    assert proxied.client.get(path('upload')).body == numbered(16)


def test_an_upload_streams_through_as_it_comes(
    serve: Callable[..., Service],
) -> None:
    pieces: list[bytes] = []
    come = threading.Event()

    def upstream(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            while b'the end' not in b''.join(pieces):
                pieces.append(sock.recv(65536))
                if b'the beginning' in b''.join(pieces):
                    come.set()
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')

    with socket.create_server(('127.0.0.1', 0)) as listener:
        url = f'http://127.0.0.1:{listener.getsockname()[1]}'
        thread = threading.Thread(target=upstream, args=(listener,), daemon=True)
        thread.start()
        service = serve(workers=1, settings={'UPSTREAM': url})
        with connect(service.port) as sock:
            sock.sendall(
                b'POST /v1/files HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
                b'Transfer-Encoding: chunked\r\n\r\nd\r\nthe beginning\r\n'
            )
            assert come.wait(10), 'the upload is held back until its end'
            sock.sendall(b'7\r\nthe end\r\n0\r\n\r\n')
            assert parse(read_to_end(sock)).status == 200
        thread.join(10)
    _, _, body = b''.join(pieces).partition(b'\r\n\r\n')
    assert unchunk(body)[0] == b'the beginningthe end'


def test_a_request_that_expects_to_continue_does(proxied: Proxied) -> None:
    raw = json.dumps({'a': 1}).encode()
    with connect(proxied.service.port) as sock:
        proxied.script = lambda exchange: exchange.reply(200, exchange.body, TEXT)
        sock.sendall(
            b'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
            b'Expect: 100-continue\r\nContent-Length: %d\r\n\r\n' % len(raw)
        )
        assert sock.recv(1024).startswith(b'HTTP/1.1 100 ')
        sock.sendall(raw)
        assert parse(read_to_end(sock)).body == raw
