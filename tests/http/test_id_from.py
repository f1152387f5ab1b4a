"""Where the id of a conversation may be: ``SHMSTREAM_ID_FROM``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shmstream.id_from import IdFrom, parse_id_from
from tests.http.conftest import Watch
from tests.http.proxied import Proxied, proxied_service
from tests.http.wire import ask, connect, numbered
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.upstream import Exchange

DATA = numbered(160)
JSON = ('Content-Type', 'application/json')


@pytest.fixture(scope='module')
def places_module(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Proxied]:
    log = tmp_path_factory.mktemp('places') / 'service.log'
    places = 'header:X-OpenWebUI-Chat-Id, body:id,query:chat,header:X-Conversation-Id'
    with proxied_service(log, ID_FROM=places) as proxied:
        watch_module(proxied.service)
        yield proxied


@pytest.fixture
def places(places_module: Proxied) -> Iterator[Proxied]:
    """A service that looks for ids in four places."""
    yield places_module
    places_module.clear()


def posted(
    proxied: Proxied, asked: dict[str, Any], query: str = '', *headers: tuple[str, str]
) -> tuple[Exchange, dict[str, str]]:
    """POST; returns what the upstream got, and the answer's headers."""
    feed = proxied.feed(first=DATA)
    feed.end()
    body = json.dumps({'feed': feed.token, **asked}).encode()
    length = ('Content-Length', str(len(body)))
    raw = ask(
        proxied.service.port, f'POST /v1/x{query}', JSON, length, *headers, body=body
    )
    assert raw.status == 200, raw.body
    assert feed.exchange.body == body
    return feed.exchange, dict(raw.headers)


@pytest.mark.parametrize('stream', [True, None], ids=['announced', 'unsaid'])
@pytest.mark.parametrize(
    ('conv_id', 'asked', 'query', 'headers'),
    [
        ('chat-1', {}, '', [('x-openwebui-chat-id', 'chat-1')]),
        ('in the body', {'id': 'in the body'}, '', []),
        ('17', {'id': 17}, '', []),
        ('grün', {'id': 'grün'}, '', []),
        ('q/1 ü', {}, '?x=1&chat=q%2F1+%C3%BC', []),
        ('last', {}, '', [('X-Conversation-Id', 'last')]),
        # The first place in which there is one, whatever is in the others.
        ('a', {'id': 'b'}, '?chat=c', [('X-OpenWebUI-Chat-Id', 'a')]),
        ('b', {'id': 'b'}, '?chat=c', [('X-Conversation-Id', 'd')]),
        ('c', {'id': ''}, '?chat=c', [('X-Conversation-Id', 'd')]),
        ('d', {'id': None}, '?chat=', [('X-Conversation-Id', 'd')]),
    ],
)
def test_f68_an_id_is_taken_from_the_first_place_that_has_one(
    places: Proxied,
    conv_id: str,
    asked: dict[str, Any],
    query: str,
    headers: list[tuple[str, str]],
    stream: bool | None,
) -> None:
    # After the messages, as clients send it.
    said = {'messages': [{'content': 'x' * 100_000}]} | asked
    said |= {} if stream is None else {'stream': stream}
    exchange, answer = posted(places, said, query, *headers)
    assert answer['location'].startswith('/v1/stream')
    assert places.client.get(answer['location']).body == DATA
    assert wait_until(lambda: places.client.get(path(conv_id)).body == DATA)
    assert exchange.target == '/v1/x' + query
    # The places of others are the upstream's to see.
    for name, value in headers:
        mine = name.lower() == 'x-conversation-id'
        assert exchange.header(name) == (None if mine else value)
    places.client.delete(path(conv_id))


def test_f68_a_session_is_announced_as_soon_as_the_body_says_who_it_is(
    places: Proxied,
) -> None:
    with connect(places.service.port) as sock:
        sock.sendall(
            b'POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
            b'Content-Length: 100000\r\n\r\n{"stream":true,"messages":["'
        )
        sock.sendall(b'x' * 1000 + b'"],"id":"soon"')
        assert wait_until(lambda: places.client.lookup('soon') != [])
        assert places.client.lookup('soon')[0]['state'] == 'pending'
    assert wait_until(lambda: places.client.lookup('soon') == [])


@pytest.mark.parametrize(
    ('asked', 'query', 'headers'),
    [
        ({}, '', []),
        ({'id': ['a']}, '', []),
        ({'nested': {'id': 'a'}}, '?chats=1', [('X-Conversation-Id', ' ')]),
    ],
)
def test_f68_what_has_none_is_passed_through(
    places: Proxied,
    asked: dict[str, Any],
    query: str,
    headers: list[tuple[str, str]],
) -> None:
    compress = ('Accept-Encoding', 'gzip')
    exchange, answer = posted(
        places, asked | {'stream': True}, query, compress, *headers
    )
    assert 'location' not in answer
    assert 'stream-generation' not in answer
    assert exchange.header('Accept-Encoding') == 'gzip'


def test_f68_what_is_no_json_is_not_held(places: Proxied) -> None:
    """A file of any size goes on as it comes."""
    size = 65 << 20
    seen: list[int] = []

    def script(exchange: Exchange) -> None:
        seen.append(len(exchange.body))
        exchange.reply(200, b'{}', JSON)

    places.script = script
    raw = ask(
        places.service.port,
        'POST /v1/files',
        ('Content-Type', 'application/octet-stream'),
        ('Content-Length', str(size)),
        body=bytes(size),
    )
    assert (raw.status, seen) == (200, [size])


@pytest.mark.parametrize(
    ('asked', 'query', 'headers'),
    [
        ({'id': 'x' * 513}, '', []),
        ({'id': 'x' * 100_000}, '', []),
        ({'id': 'a\nb'}, '', []),
        ({'id': '\ud800'}, '', []),
        ({}, '?chat=%ff', []),
        ({}, '?chat=%00', []),
        ({}, '?chat=a&chat=b', []),
        ({}, '?chat=a&x=1&ch%61t=a', []),
        ({}, '', [('X-OpenWebUI-Chat-Id', 'x' * 513)]),
        ({}, '', [('X-OpenWebUI-Chat-Id', 'a'), ('X-OpenWebUI-Chat-Id', 'b')]),
        ({}, '', [('X-Conversation-Id', 'a'), ('X-Conversation-Id', 'a')]),
    ],
)
@pytest.mark.parametrize('stream', [True, False])
def test_f68_what_can_be_no_id_is_refused(
    places: Proxied,
    asked: dict[str, Any],
    query: str,
    headers: list[tuple[str, str]],
    stream: bool,
) -> None:
    feed = places.feed(first=DATA)
    body = json.dumps({'feed': feed.token, 'stream': stream, **asked}).encode()
    length = ('Content-Length', str(len(body)))
    raw = ask(
        places.service.port, f'POST /v1/x{query}', JSON, length, *headers, body=body
    )
    assert raw.status == 400
    assert json.loads(raw.body)['error']['message']
    assert not feed.asked


@pytest.mark.parametrize('apart', ['', f'"text": "{"x" * 1_000_000}", '])
@pytest.mark.parametrize(
    'twice',
    [
        '"stream": true, "id": "a", {}"id": "b"',
        '"id": "a", "stream": true, {}"stream": false',
        '"stream": true, "id": "a", {}"stream": null',
        '"stream": true, "id": "a", {}"id": {{}}',
        '"id": "a", {}"id": 17',
    ],
)
def test_f68_what_says_two_things_is_refused(
    places: Proxied, twice: str, apart: str
) -> None:
    """The upstream would take the last, and the session would be of the first."""
    feed = places.feed(first=DATA)
    body = f'{{"feed": "{feed.token}", {twice.format(apart)}}}'.encode()
    raw = ask(
        places.service.port,
        'POST /v1/x',
        JSON,
        ('Content-Length', str(len(body))),
        body=body,
    )
    assert raw.status == 400
    assert 'must come once' in json.loads(raw.body)['error']['message']
    assert not feed.asked
    assert wait_until(lambda: places.client.lookup('a') == [])


def test_f68_the_default_is_one_header_and_nothing_else(proxied: Proxied) -> None:
    _, answer = posted(
        proxied,
        {'id': 'a', 'stream': True},
        '?chat=a',
        ('X-OpenWebUI-Chat-Id', 'a'),
    )
    assert 'location' not in answer


def test_places_are_read_as_they_are_meant() -> None:
    text = ' header:X-A ,body:id,query:Chat '
    places = [('header', 'x-a'), ('body', 'id'), ('query', 'Chat')]
    assert parse_id_from(text) == tuple(IdFrom(*place) for place in places)


@pytest.mark.parametrize(
    'text',
    [
        *('X-A', 'header:', 'header:a b', 'cookie:a', 'header:a,', 'body:', 'Header:a'),
        ','.join(['query:a'] * 17),
        # Ids are told to many; these are secrets.
        *('header:Authorization', 'header:cookie', 'query:a,header:X-API-Key'),
        *('header:api-key', 'header:Proxy-Authorization'),
    ],
)
def test_places_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match='must'):
        parse_id_from(text)
