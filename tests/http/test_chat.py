"""The routes of ``useChat`` at the service, byte for byte: ``SHMSTREAM_CHAT``."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.http.conftest import Watch
from tests.http.proxied import Feed, Proxied, proxied_service
from tests.http.wire import ask, assert_error
from tests.support.client import Live, Reply, path
from tests.support.leaks import wait_until
from tests.support.ui_stream import HEADERS, beginning, end

CHAT = '/api/chat'
KEY, OTHER = 'key-one-0123456789', 'key-two-9876543210'
PAGE = 'https://chat.example.org'
FIRST, LAST = beginning('one '), end('two')
WHOLE = FIRST + LAST


@pytest.fixture(scope='module')
def chats_module(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Proxied]:
    log = tmp_path_factory.mktemp('chats') / 'service.log'
    with proxied_service(log, workers=2, CHAT='/api/chat, /other') as proxied:
        watch_module(proxied.service)
        yield proxied


@pytest.fixture
def chats(chats_module: Proxied) -> Iterator[Proxied]:
    """A service, and an upstream that speaks UI messages."""
    yield chats_module
    chats_module.clear()


@pytest.fixture(scope='module')
def guarded(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Proxied]:
    """A service with two keys, and an origin that is named."""
    log = tmp_path_factory.mktemp('guarded') / 'service.log'
    settings = {'CHAT': CHAT, 'API_KEYS': f'{KEY},{OTHER}', 'CORS_ORIGINS': PAGE}
    with proxied_service(log, workers=1, **settings) as proxied:
        watch_module(proxied.service)
        yield proxied


def asks(chats: Proxied, conv_id: str, feed: Feed, **more: str) -> Live:
    """POST as ``useChat`` does."""
    message = {'id': 'm', 'role': 'user', 'parts': [{'type': 'text', 'text': 'Hi'}]}
    asked: dict[str, Any] = {'feed': feed.token, 'id': conv_id, 'messages': [message]}
    asked['trigger'] = 'submit-message'
    headers = {'Content-Type': 'application/json', **more}
    return chats.client.open('POST', CHAT, json.dumps(asked).encode(), headers)


def of(conv_id: str, route: str, chat: str = CHAT) -> str:
    return f'{chat}/{quote(conv_id, safe="")}/{route}'


def stop(chats: Proxied, conv_id: str, **body: str) -> Reply:
    data = json.dumps(body).encode() if body else None
    return chats.client.call('POST', of(conv_id, 'stop'), data)


def is_nothing(chats: Proxied, conv_id: str) -> bool:
    """Whether there is nothing to resume."""
    reply = chats.client.get(of(conv_id, 'stream'))
    return (reply.status, reply.body) == (204, b'')


@pytest.mark.parametrize('conv_id', ['room 1/a', 'stream', 'ünï'])
def test_a_chat_is_resumed_until_it_is_over(chats: Proxied, conv_id: str) -> None:
    assert is_nothing(chats, conv_id)
    feed = chats.feed(first=FIRST, headers=HEADERS)
    with asks(chats, conv_id, feed) as post:
        assert post.status == 200
        with chats.client.open('GET', of(conv_id, 'stream')) as resumed:
            assert resumed.status == 200
            resumed.until(len(FIRST))
            feed.send(LAST)
            feed.end()
            assert resumed.rest() == post.rest() == WHOLE
            assert resumed.whole
            for name, value in HEADERS:
                assert resumed.headers[name] == value
            assert resumed.headers['content-type'] == 'text/event-stream'
    assert is_nothing(chats, conv_id)
    again = chats.client.get(of(conv_id, 'stream') + '?finished=replay')
    assert (again.status, again.body) == (200, WHOLE)
    assert again.headers[HEADERS[0][0]] == 'v1'
    assert chats.client.get(path(conv_id)).body == WHOLE


def test_a_chat_is_announced_at_once(chats: Proxied) -> None:
    """Its body says nothing of a stream, and has its id; ``GET`` waits for it."""
    feed = chats.feed(pending=True, first=FIRST, headers=HEADERS)
    with Asking(chats, 'announced', feed):
        assert wait_until(lambda: state(chats, 'announced') == 'pending')
    assert feed.exchange.body
    # It begins to answer, although the stream has not begun.
    with chats.client.open('GET', of('announced', 'stream')) as resumed:
        assert resumed.status == 200
        feed.begin()
        assert resumed.until(len(FIRST)) == FIRST
        feed.send(LAST)
        feed.end()
        assert resumed.rest() == WHOLE


class Asking:
    """POST as ``useChat`` does; the connection is closed at the end of the block."""

    def __init__(self, chats: Proxied, conv_id: str, feed: Feed) -> None:
        self._connection = http.client.HTTPConnection('127.0.0.1', chats.client.port)
        body = json.dumps({'id': conv_id, 'feed': feed.token}).encode()
        headers = {'Content-Type': 'application/json'}
        self._connection.request('POST', CHAT, body, headers)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def state(chats: Proxied, conv_id: str) -> str | None:
    """What a look-up says."""
    found = chats.client.lookup(conv_id)
    return found[0]['state'] if found else None


def test_the_id_of_the_chat_counts_before_other_places(chats: Proxied) -> None:
    """``useChat`` comes back with no other id."""
    feed = chats.feed(first=FIRST, headers=HEADERS)
    feed.end()
    with asks(chats, 'inner', feed, **{'X-Conversation-Id': 'outer'}) as post:
        assert post.headers['content-location'] == path('inner')
        post.rest()
    feed = chats.feed(first=FIRST, headers=HEADERS)
    feed.end()
    with asks(chats, '', feed, **{'X-Conversation-Id': 'outer'}) as post:
        assert post.headers['content-location'] == path('outer')


def test_other_paths_announce_nothing(chats: Proxied) -> None:
    """The member ``id`` is an id on the chat's own path only."""
    feed = chats.feed(first=FIRST)
    feed.end()
    body = json.dumps({'id': 'elsewhere', 'feed': feed.token}).encode()
    headers = {'Content-Type': 'application/json'}
    reply = chats.client.call('POST', f'{CHAT}/more', body, headers)
    assert reply.body == FIRST
    assert 'stream-generation' not in reply.headers
    assert is_nothing(chats, 'elsewhere')


def test_an_answer_that_is_no_stream_leaves_no_session(chats: Proxied) -> None:
    chats.script = lambda exchange: exchange.reply(400, b'no', ('X-Why', 'because'))
    body, headers = b'{"id": "refused"}', {'Content-Type': 'application/json'}
    reply = chats.client.call('POST', CHAT, body, headers)
    assert (reply.status, reply.body, reply.headers['x-why']) == (400, b'no', 'because')
    assert is_nothing(chats, 'refused')


def test_a_stop_ends_all_readers_in_their_dialect(chats: Proxied) -> None:
    feed = chats.feed(first=FIRST, headers=HEADERS)
    with (
        asks(chats, 'stopped', feed) as post,
        chats.client.open('GET', of('stopped', 'stream')) as resumed,
    ):
        generation = post.headers['stream-generation']
        resumed.until(len(FIRST))
        assert stop(chats, 'stopped', activeStreamId='0' * 16).json() == {
            'success': True
        }
        assert state(chats, 'stopped') == 'live'
        reply = stop(chats, 'stopped', activeStreamId=generation)
        assert (reply.status, reply.json()) == (200, {'success': True})
        for live in (post, resumed):
            assert live.rest().startswith(FIRST)
            assert live.rest().endswith(b'data: [DONE]\n\n')
            assert b'"abort"' in live.rest()
            assert live.whole
    assert feed.hung_up()
    assert is_nothing(chats, 'stopped')
    # It is kept, unlike after a DELETE.
    assert state(chats, 'stopped') == 'cancelled'
    assert stop(chats, 'stopped').status == 200
    assert stop(chats, 'never').json() == {'success': True}


def test_what_is_no_route_of_a_chat_is_the_upstream_s(chats: Proxied) -> None:
    chats.script = lambda exchange: exchange.reply(200, exchange.target.encode())
    for method, target in (
        ('GET', CHAT),
        ('GET', '/api/chat/stream'),
        ('GET', '/api/chat/1'),
        ('GET', '/api/chat/1/stop'),
        ('DELETE', '/api/chat/1/stream'),
        ('POST', '/api/chat/1/stream'),
        ('POST', '/api/chatter/1/stop'),
        ('GET', '/chat/1/stream'),
    ):
        reply = chats.client.call(method, target)
        assert (reply.status, reply.body) == (200, target.encode()), (method, target)
    assert chats.client.get(of('1', 'stream', '/other')).status == 204


def test_a_stop_that_is_asked_wrongly(chats: Proxied) -> None:
    target = of('a', 'stop')
    assert_error(chats.client.call('POST', target, b'{'), 400, 'invalid body')
    assert_error(stop(chats, 'a', activeStreamId='mine'), 400, 'activeStreamId')
    assert_error(stop(chats, 'x' * 513), 400, 'at most 512')
    length = ('Content-Length', str(5 << 20))
    # Falcon looks at a request once a first piece of its body is there.
    raw = ask(chats.service.port, f'POST {target}', length, body=b'{')
    assert raw.status == 413


def test_the_routes_are_described(chats: Proxied) -> None:
    described = chats.client.get('/_shmstream/openapi.json').json()['paths']
    for chat in (CHAT, '/other'):
        assert 'get' in described[f'{chat}/{{conv_id}}/stream']
        assert 'post' in described[f'{chat}/{{conv_id}}/stop']


def test_keys_and_origins_hold_on_the_routes(guarded: Proxied) -> None:
    def with_key(key: str) -> dict[str, str]:
        return {'Authorization': f'Bearer {key}', 'Origin': PAGE}

    ours, theirs = with_key(KEY), with_key(OTHER)
    call = guarded.client.call
    feed = guarded.feed(first=FIRST, headers=HEADERS)
    stream, stopping = of('kept', 'stream'), of('kept', 'stop')
    with asks(guarded, 'kept', feed, **ours) as post:
        post.until(len(FIRST))
        for method, target in (('GET', stream), ('POST', stopping)):
            reply = call(method, target, headers={'Origin': PAGE})
            assert reply.status == 401
            assert reply.headers['access-control-allow-origin'] == PAGE
            foreign = {'Sec-Fetch-Site': 'cross-site', 'Origin': 'https://evil.test'}
            assert call(method, target, headers=ours | foreign).status == 403
            asked = {'Access-Control-Request-Method': method, 'Origin': PAGE}
            preflight = call('OPTIONS', target, headers=asked)
            assert preflight.headers['access-control-allow-origin'] == PAGE
        # Another owner's stream is not there.
        nothing = call('GET', stream, headers=theirs)
        assert nothing.status == 204
        assert nothing.headers['access-control-allow-origin'] == PAGE
        assert call('POST', stopping, headers=theirs).json() == {'success': True}
        with guarded.client.open('GET', stream, headers=ours) as resumed:
            assert resumed.until(len(FIRST)) == FIRST
            done = call('POST', stopping, headers=ours)
            assert done.json() == {'success': True}
            assert done.headers['access-control-allow-origin'] == PAGE
            assert resumed.rest() == post.rest()
