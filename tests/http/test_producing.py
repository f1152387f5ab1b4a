"""POSTs that become sessions, and those that do not."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import as_header, ask, assert_error, numbered
from tests.support.client import path
from tests.support.ends import failure
from tests.support.leaks import wait_until
from tests.support.upstream import Exchange

EVENTS = ('Content-Type', 'text/event-stream')
JSON_TYPE = ('Content-Type', 'application/json')

TARGETS = [
    f'{prefix}{route}'
    for prefix in ('/v1', '')
    for route in ('/chat/completions', '/completions', '/responses')
]


def assert_no_session(proxied: Proxied, conv_id: str) -> None:
    assert proxied.client.lookup(conv_id) == []
    assert proxied.client.get(path(conv_id)).status == 404


@pytest.mark.parametrize('target', [*TARGETS, '/api/generate', '/any/thing?x=%2F'])
def test_a_streamed_answer_on_any_path_is_a_session(
    proxied: Proxied, target: str
) -> None:
    data = numbered(500)
    feed = proxied.feed(first=data)
    feed.end()
    body = json.dumps({'feed': feed.token, 'text': '\ud83e\udd8a "'}).encode()
    conv_id = f'path {target}'
    headers = {'X-Conversation-Id': conv_id, 'X-Mine': '1', 'Authorization': 'Bearer k'}
    with proxied.client.open('POST', target, body, headers) as post:
        assert post.status == 200
        assert post.rest() == data
        assert post.whole
    assert feed.exchange.target == target
    assert feed.exchange.body == body
    assert feed.exchange.header('X-Mine') == '1'
    assert feed.exchange.header('Authorization') == 'Bearer k'
    assert feed.exchange.header('Content-Length') == str(len(body))
    assert proxied.client.get(path(conv_id, 16)).body == data[16:]


def test_the_post_says_where_its_session_is(proxied: Proxied) -> None:
    conv_id = 'where/are you?::ü'
    with proxied.stream(as_header(conv_id), numbered(32)) as post:
        location = post.headers['location']
        assert location.startswith('/v1/stream/')
        (found,) = proxied.client.lookup(conv_id)
        assert post.headers['stream-generation'] == found['generation']
        assert post.headers['stream-offset'] == '0'
        assert post.headers['content-type'] == 'text/event-stream'
        assert post.headers['cache-control'] == 'no-store, no-transform'
        assert post.headers['x-accel-buffering'] == 'no'
        assert post.rest() == numbered(32)
    reply = proxied.client.get(location)
    assert reply.body == numbered(32)
    assert reply.headers['stream-generation'] == found['generation']


@pytest.mark.parametrize(
    'name', ['X-Conversation-Id', 'x-conversation-id', 'X-CONVERSATION-ID']
)
def test_the_header_has_any_case(proxied: Proxied, name: str) -> None:
    feed = proxied.feed(first=numbered(16))
    feed.end()
    body = json.dumps({'feed': feed.token}).encode()
    with proxied.client.open('POST', '/v1/completions', body, {name: name}) as post:
        post.rest()
    assert proxied.client.get(path(name)).body == numbered(16)


@pytest.mark.parametrize('value', ['', ' ', '\t '])
def test_an_empty_id_is_none(proxied: Proxied, value: str) -> None:
    feed = proxied.feed(first=numbered(16))
    feed.end()
    with proxied.post(value, feed) as post:
        assert post.rest() == numbered(16)
        assert 'location' not in post.headers
        assert 'stream-generation' not in post.headers


def test_only_a_post_makes_a_session(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(16))
    feed.end()
    body = json.dumps({'feed': feed.token}).encode()
    header = {'X-Conversation-Id': 'put'}
    assert proxied.client.call('PUT', '/v1/x', body, header).body == numbered(16)
    assert_no_session(proxied, 'put')


def test_headers_of_the_upstream_come_along(proxied: Proxied) -> None:
    def script(exchange: Exchange) -> None:
        exchange.reply(
            200,
            numbered(64),
            ('Content-Type', 'text/event-stream; charset=utf-8'),
            ('X-Request-Id', 'abc'),
            ('Set-Cookie', 'a=1'),
            ('Set-Cookie', 'b=2'),
            ('Cache-Control', 'max-age=60'),
            ('Connection', 'keep-alive, X-Named'),
            ('X-Named', '1'),
        )

    proxied.script = script
    raw = ask(
        proxied.service.port,
        'POST /v1/responses',
        ('X-Conversation-Id', 'along'),
        ('Content-Length', '2'),
        body=b'{}',
    )
    assert raw.all('content-type') == ['text/event-stream; charset=utf-8']
    assert raw.all('x-request-id') == ['abc']
    assert raw.all('set-cookie') == ['a=1', 'b=2']
    assert raw.all('cache-control') == ['no-store, no-transform']
    assert raw.all('x-named') == []
    assert len(raw.all('content-length') + raw.all('transfer-encoding')) == 1
    # A length does not make an answer less of a stream.
    assert proxied.client.get(path('along')).body == numbered(64)


@pytest.mark.parametrize('status', [300, 400, 401, 404, 422, 429, 500, 503])
def test_an_error_of_the_upstream_is_passed_on_and_leaves_nothing(
    proxied: Proxied, status: int
) -> None:
    error = b'{"error": {"message": "upstream says no"}}'
    retry = ('Retry-After', '9')
    # Even one that looks like a stream.
    for kind in (JSON_TYPE, EVENTS):
        proxied.script = lambda exchange, kind=kind: exchange.reply(
            status, error, kind, retry
        )
        with proxied.client.post('no', {}) as post:
            assert post.status == status
            assert post.headers['content-type'] == kind[1]
            assert post.headers['retry-after'] == '9'
            assert post.rest() == error
            assert 'stream-generation' not in post.headers
        assert_no_session(proxied, 'no')


@pytest.mark.parametrize(
    'headers',
    [
        (JSON_TYPE,),
        (('Content-Type', 'text/plain'),),
        (),
        (EVENTS, ('Content-Encoding', 'gzip')),
    ],
    ids=['json', 'text', 'untyped', 'compressed'],
)
def test_an_answer_that_is_no_stream_is_no_session(
    proxied: Proxied, headers: tuple[tuple[str, str], ...]
) -> None:
    body = gzip.compress(b'{"choices": []}')
    proxied.script = lambda exchange: exchange.reply(200, body, *headers)
    with proxied.client.post('plain', {'stream': False}) as post:
        assert post.status == 200
        assert post.rest() == body
        assert 'location' not in post.headers
    assert_no_session(proxied, 'plain')


def test_an_empty_stream_is_a_session(proxied: Proxied) -> None:
    proxied.script = lambda exchange: exchange.reply(200, b'', EVENTS)
    with proxied.client.post('empty', {}) as post:
        assert (post.status, post.rest(), post.whole) == (200, b'', True)
    reply = proxied.client.get(path('empty'))
    assert (reply.status, reply.body) == (200, b'')
    assert reply.headers['stream-state'] == 'complete'


def test_a_session_that_is_pending_is_known(proxied: Proxied) -> None:
    feed = proxied.feed(pending=True, first=numbered(16))
    client = proxied.client
    with ThreadPoolExecutor() as pool:
        post = pool.submit(proxied.post, 'pending', feed)
        assert feed.exchange.method == 'POST'
        (found,) = client.lookup('pending')
        assert (found['state'], found['is_done']) == ('pending', False)
        assert (found['total_bytes'], found['completed_at']) == (0, 0)
        feed.begin()
        feed.end()
        with post.result() as live:
            assert live.headers['stream-generation'] == found['generation']
            assert live.rest() == numbered(16)


def test_a_client_that_was_lost_in_a_long_prefill_comes_back(
    proxied: Proxied,
) -> None:
    feed = proxied.feed(pending=True, first=numbered(160))
    body = json.dumps({'feed': feed.token, 'stream': True}).encode()
    header = {'X-Conversation-Id': 'prefill'}
    with ThreadPoolExecutor() as pool:
        with pytest.raises(TimeoutError):
            proxied.client.open('POST', '/v1/completions', body, header, timeout_s=0.3)
        waiting = pool.submit(proxied.client.get, path('prefill'))
        assert not wait_until(waiting.done, 0.5)
        feed.begin()
        feed.end()
        assert waiting.result().body == numbered(160)
        assert waiting.result().whole


def test_a_get_waits_five_seconds_for_the_upstream(proxied: Proxied) -> None:
    feed = proxied.feed(pending=True, first=numbered(16))
    with ThreadPoolExecutor() as pool:
        post = pool.submit(proxied.post, 'slow', feed)
        assert feed.exchange.method == 'POST'
        waiting = pool.submit(proxied.client.get, path('slow'))
        assert not wait_until(waiting.done, 4)
        error = assert_error(waiting.result(), 503, '')
        assert waiting.result().headers['retry-after'] == '2'
        assert error['type']
        # It was only the GET that gave up.
        feed.begin()
        feed.end()
        with post.result() as live:
            assert live.rest() == numbered(16)
        assert proxied.client.get(path('slow')).body == numbered(16)


@pytest.mark.parametrize(
    ('first', 'whole'),
    [
        (b'data: {"n": 1}\n\n', 16),
        (b'data: {"n": 1}\r\n\r\n', 18),
        (b'data: {"n": 1}\n', 0),
        (b'data: {"n": ', 0),
        (b'data: {"n": 1}\n\nda', 16),
    ],
)
def test_f72_an_upstream_that_breaks_off_is_told_in_band(
    proxied: Proxied, first: bytes, whole: int
) -> None:
    """What it has left of an event is none of the stream."""
    feed = proxied.feed(first=b': here\n\n' + first)
    with (
        proxied.post('cut', feed) as post,
        proxied.client.open('GET', path('cut')) as reader,
    ):
        post.until(8 + whole)
        feed.break_off()
        told = post.rest()
        assert post.whole
        assert reader.rest() == told
    end = failure('upstream broke off the stream')
    assert told == b': here\n\n' + first[:whole] + end
    (found,) = proxied.client.lookup('cut')
    assert (found['state'], found['is_done']) == ('aborted', True)
    assert found['total_bytes'] == len(told)
    reply = proxied.client.get(path('cut', 3))
    assert reply.body == told[3:]
    assert reply.headers['stream-state'] == 'aborted'


def test_a_session_body_of_over_64_mebibytes_is_refused(proxied: Proxied) -> None:
    raw = ask(
        proxied.service.port,
        'POST /v1/chat/completions',
        ('X-Conversation-Id', 'huge'),
        ('Content-Length', str((64 << 20) + 1)),
        # Of which only the first byte is ever sent.
        body=b'{',
    )
    assert raw.status == 413
    assert json.loads(raw.body)['error']['code'] == 413
    assert_no_session(proxied, 'huge')
