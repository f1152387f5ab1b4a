"""When a POST touches what has its id, and when it does not."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.http.proxied import Feed, Proxied
from tests.http.wire import assert_error, connect, numbered, parse, read_to_end
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.upstream import Exchange

END_S = 8.0
"""As ``test_stopping``."""

OLD = numbered(320)


def reply(status: int, body: bytes, *headers: tuple[str, str]) -> Any:
    return lambda exchange: exchange.reply(status, body, *headers)


JSON = ('Content-Type', 'application/json')
EVENTS = ('Content-Type', 'text/event-stream')

NO_STREAMS = {
    'a title': (200, reply(200, b'{"choices": []}', JSON)),
    'embeddings': (200, reply(200, b'{"data": []}' * 1000, JSON)),
    'nothing': (204, lambda exchange: exchange.start(204)),
    'not found': (404, reply(404, b'{}', JSON)),
    'too many': (429, reply(429, b'{}', JSON, ('Retry-After', '1'))),
    'events of an error': (500, reply(500, numbered(16), EVENTS)),
    'unreachable': (502, lambda exchange: exchange.break_off()),
    'gzip': (
        200,
        reply(200, gzip.compress(numbered(16)), EVENTS, ('Content-Encoding', 'gzip')),
    ),
    'audio': (200, reply(200, bytes(1000), ('Content-Type', 'audio/mpeg'))),
}


@pytest.fixture(params=NO_STREAMS.values(), ids=list(NO_STREAMS))
def no_stream(request: pytest.FixtureRequest, proxied: Proxied) -> int:
    """What answers requests that name no feed is no stream; its status."""
    status, proxied.script = request.param
    assert isinstance(status, int)
    return status


def finished(proxied: Proxied, conv_id: str) -> str:
    """Make a stream that has ended; returns its generation."""
    with proxied.stream(conv_id, OLD) as post:
        assert post.rest() == OLD
    assert wait_until(lambda: bool(proxied.client.lookup(conv_id)[0]['is_done']))
    return post.headers['stream-generation']


def assert_there(proxied: Proxied, conv_id: str, generation: str) -> None:
    """The finished stream is there, whole."""
    (found,) = proxied.client.lookup(conv_id)
    assert (found['generation'], found['state']) == (generation, 'complete')
    got = proxied.client.get(path(conv_id, 16))
    assert (got.status, got.body) == (200, OLD[16:])
    assert got.headers['stream-generation'] == generation


def asks(proxied: Proxied, conv_id: str, stream: bool | None) -> int:
    """POST under this id and read the answer; returns its status."""
    asked = {} if stream is None else {'stream': stream}
    body = json.dumps({'messages': [], **asked}).encode()
    headers = {'X-Conversation-Id': conv_id}
    with proxied.client.open('POST', '/v1/x', body, headers) as post:
        assert 'stream-generation' not in post.headers
        post.rest()
        return post.status


@pytest.mark.parametrize('stream', [False, None], ids=['said', 'unsaid'])
def test_f65_what_is_no_stream_touches_no_live_one(
    proxied: Proxied, no_stream: int, stream: bool | None
) -> None:
    feed = proxied.feed(first=numbered(32))
    with proxied.post('busy', feed) as post:
        assert post.until(32) == numbered(32)
        assert asks(proxied, 'busy', stream) == no_stream
        (found,) = proxied.client.lookup('busy')
        assert found['generation'] == post.headers['stream-generation']
        assert found['state'] == 'live'
        feed.send(numbered(32, 2))
        feed.end()
        assert post.rest() == numbered(64)
        assert post.whole


@pytest.mark.parametrize('stream', [False, None, True], ids=['said', 'unsaid', 'asked'])
def test_f65_what_is_no_stream_leaves_a_finished_one_as_it_was(
    proxied: Proxied, no_stream: int, stream: bool | None
) -> None:
    """Also if a stream was asked for, and the answer is none."""
    old = finished(proxied, 'done')
    for _ in range(2):
        assert asks(proxied, 'done', stream) == no_stream
        assert_there(proxied, 'done', old)


def test_f65_while_the_new_one_is_pending_it_is_what_is_seen(proxied: Proxied) -> None:
    old = finished(proxied, 'next')
    reader = proxied.client.open('GET', path('next'))
    feed = proxied.feed(pending=True, first=numbered(16))
    with ThreadPoolExecutor() as pool, reader:
        post = pool.submit(proxied.post, 'next', feed)
        assert feed.exchange.method == 'POST'
        (found,) = proxied.client.lookup('next')
        assert (found['state'], found['total_bytes']) == ('pending', 0)
        assert found['generation'] != old
        error = proxied.client.get(path('next', generation=old))
        assert_error(error, 409, 'Stream was replaced')
        waiting = pool.submit(proxied.client.get, path('next'))
        assert not wait_until(waiting.done, 0.3)
        feed.begin()
        feed.end()
        with post.result() as live:
            assert live.rest() == numbered(16)
        assert waiting.result().body == numbered(16)
        # Who reads the old one reads it to its end.
        assert reader.rest() == OLD
    assert proxied.client.get(path('next')).body == numbered(16)
    sessions = proxied.service.directory / 'sessions'
    kept = functools.partial(sessions.glob, '.kept-*')
    assert wait_until(lambda: not list(kept()))


def test_f65_a_stream_that_was_not_announced_replaces_when_it_begins(
    proxied: Proxied,
) -> None:
    """Ollama streams unless it is told not to."""
    live = proxied.feed(first=b'data: old\n\n')
    feed = proxied.feed('application/x-ndjson', pending=True, first=b'{"n":1}\n')
    body = json.dumps({'feed': feed.token}).encode()
    header = {'X-Conversation-Id': 'unsaid'}
    with ThreadPoolExecutor() as pool, proxied.post('unsaid', live) as post:
        assert post.until(11)
        open_ = proxied.client.open
        second = pool.submit(open_, 'POST', '/api/chat', body, header)
        assert feed.exchange.method == 'POST'
        (found,) = proxied.client.lookup('unsaid')
        assert found['generation'] == post.headers['stream-generation']
        assert not live.hung_up(0.2)
        feed.begin()
        with second.result() as new:
            assert live.hung_up(END_S)
            assert post.rest() == b'data: old\n\n'
            feed.end()
            assert new.rest() == b'{"n":1}\n'
            (found,) = proxied.client.lookup('unsaid')
            assert found['generation'] == new.headers['stream-generation']


@pytest.mark.parametrize('finished_first', [False, True], ids=['new', 'finished'])
def test_f66_who_leaves_before_it_is_known_to_be_a_stream_takes_the_work_along(
    proxied: Proxied, finished_first: bool
) -> None:
    """``curl -m 1 -d '{}'``: as without an id."""
    old = finished(proxied, 'gives up') if finished_first else ''
    feed = proxied.feed(pending=True)
    body = json.dumps({'feed': feed.token}).encode()
    head = b'POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: gives up\r\n'
    with connect(proxied.service.port) as sock:
        sock.sendall(head + b'Content-Length: %d\r\n\r\n%s' % (len(body), body))
        assert feed.exchange.method == 'POST'
    assert feed.hung_up(END_S), 'it computes for nobody'
    if finished_first:
        assert_there(proxied, 'gives up', old)
    else:
        assert proxied.client.lookup('gives up') == []


class Uploading:
    """A POST whose body has said that it wants a stream, and is still coming."""

    def __init__(self, proxied: Proxied, conv_id: str, feed: Feed | None) -> None:
        self.proxied = proxied
        token = 'none' if feed is None else feed.token
        asked = {'stream': True, 'feed': token, 'text': 'x' * 100_000}
        self.body = json.dumps(asked).encode()
        self.sock: socket.socket = connect(proxied.service.port)
        self.sock.sendall(
            b'POST /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
            b'X-Conversation-Id: %s\r\nContent-Length: %d\r\n\r\n'
            % (conv_id.encode(), len(self.body))
        )
        self.sock.sendall(self.body[:1000])
        assert wait_until(lambda: self.state(conv_id) == 'pending')

    def state(self, conv_id: str) -> str | None:
        found = self.proxied.client.lookup(conv_id)
        return found[0]['state'] if found else None

    def go_on(self) -> None:
        """Send the rest."""
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(self.body[1000:])

    def answer(self) -> tuple[int, bytes]:
        raw = parse(read_to_end(self.sock))
        return raw.status, raw.body

    def __enter__(self) -> Uploading:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def test_f67_a_session_is_there_while_the_body_comes(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(32))
    feed.end()
    with (
        Uploading(proxied, 'comes', feed) as upload,
        ThreadPoolExecutor() as pool,
    ):
        waiting = pool.submit(proxied.client.get, path('comes'))
        assert not feed.asked
        upload.go_on()
        status, body = upload.answer()
        assert status == 200
        assert numbered(32) in body
        assert waiting.result().body == numbered(32)
    assert feed.exchange.body == upload.body


@pytest.mark.parametrize('how', ['delete', 'another'])
def test_f67_what_is_stopped_while_its_body_comes_is_never_asked(
    proxied: Proxied, how: str
) -> None:
    """Nor waits the client until it has sent all of it."""
    feed = proxied.feed(first=numbered(32))
    with (
        Uploading(proxied, 'stops', feed) as upload,
        ThreadPoolExecutor() as pool,
    ):
        if how == 'delete':
            waiting = pool.submit(proxied.client.get, path('stops'))
            assert not wait_until(waiting.done, 0.2)
            assert proxied.client.delete(path('stops')).status == 204
            assert_error(waiting.result(), 404, 'Stream not found')
            assert proxied.client.lookup('stops') == []
        else:
            other = proxied.feed(first=numbered(16))
            other.end()
            with proxied.post('stops', other) as post:
                assert post.rest() == numbered(16)
        status, body = upload.answer()
        assert status == 400
        assert b'request cancelled' in body
    assert not feed.asked
    expected = 404 if how == 'delete' else 200
    assert proxied.client.get(path('stops')).status == expected


@pytest.mark.parametrize('how', ['leaves', 'deletes'])
def test_f67_who_leaves_within_the_body_leaves_what_was_there(
    proxied: Proxied, how: str
) -> None:
    old = finished(proxied, 'within')
    with Uploading(proxied, 'within', None) as upload:
        if how == 'deletes':
            assert proxied.client.delete(path('within')).status == 204
            assert upload.answer()[0] == 400
            assert proxied.client.get(path('within')).status == 404
            return
    assert wait_until(lambda: upload.state('within') == 'complete')
    assert_there(proxied, 'within', old)


def test_f67_without_room_the_rest_of_the_body_is_not_waited_for(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(MAX_SESSIONS='1')
    feed = proxied.feed(first=numbered(16))
    with proxied.post('first', feed) as post:
        post.until(16)
        head = b'POST /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
        with connect(proxied.service.port) as sock:
            sock.sendall(
                head + b'X-Conversation-Id: second\r\nContent-Length: 100000\r\n\r\n'
                b'{"stream": true, "text": "'
            )
            raw = parse(read_to_end(sock))
        assert raw.status == 503
        assert raw.all('retry-after')


def test_f65_a_second_turn_that_fails_is_seen_as_the_first(proxied: Proxied) -> None:
    """Both turns announce a stream; what is pending in between is found nowhere."""
    old = finished(proxied, 'turns')

    def too_many(exchange: Exchange) -> None:
        exchange.reply(429, b'{}', JSON)

    proxied.script = too_many

    def fails(_: int) -> int:
        return asks(proxied, 'turns', True)

    with ThreadPoolExecutor(4) as pool:
        # Those that overtake each other are cancelled.
        assert set(pool.map(fails, range(12))) <= {429, 400}
    assert_there(proxied, 'turns', old)
