"""POST /v1/streams/lookup."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from shmstream.serving.lookup import asked_ids
from tests.http.proxied import Proxied
from tests.http.wire import (
    JSON,
    assert_error,
    chunked,
    numbered,
    one_per_worker,
    posted,
)
from tests.http.wire import ask as raw_ask
from tests.support.client import Client, Reply, path
from tests.support.patience import Stopwatch
from tests.support.service import Service

TARGET = '/v1/streams/lookup'
LIMIT = 1 << 20
FIELDS = {
    'conversation_id': str,
    'is_done': bool,
    'total_bytes': int,
    'started_at': int,
    'completed_at': int,
    'dropped_prefix': int,
    'state': str,
    'generation': str,
}


def ask(client: Client, body: bytes, **headers: str) -> Reply:
    return client.call('POST', TARGET, body, headers)


def ids(client: Client, *asked: Any) -> list[str]:
    """The ids that a look-up finds."""
    reply = ask(client, json.dumps({'conversation_ids': asked}).encode())
    assert reply.status == 200, reply.body
    assert reply.headers['content-type'] == JSON
    return [found['conversation_id'] for found in reply.json()]


def test_a_stream_is_described(demo: Service) -> None:
    client = demo.client()
    before = int(time.time())
    whole = posted(client, 'described')
    after = int(time.time())
    (found,) = client.lookup('described')
    assert {name: type(value) for name, value in found.items()} == FIELDS
    assert before <= found['started_at'] <= found['completed_at'] <= after
    assert found == {
        'conversation_id': 'described',
        'is_done': True,
        'total_bytes': len(whole),
        'started_at': found['started_at'],
        'completed_at': found['completed_at'],
        'dropped_prefix': 0,
        'state': 'complete',
        'generation': client.get(path('described')).headers['stream-generation'],
    }


def test_a_stream_is_followed_through_its_life(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(48))
    client = proxied.client
    with proxied.post('life', feed) as post:
        post.until(48)
        (found,) = client.lookup('life')
        assert (found['state'], found['is_done']) == ('live', False)
        assert (found['total_bytes'], found['completed_at']) == (48, 0)
        feed.break_off()
        total = len(post.rest())
    (found,) = client.lookup('life')
    assert (found['state'], found['is_done']) == ('aborted', True)
    assert found['total_bytes'] == total > 48
    assert found['completed_at'] >= found['started_at'] > 0


def test_an_id_finds_itself_and_what_begins_with_it_and_two_colons(
    demo: Service,
) -> None:
    client = demo.client()
    for conv_id in ('P', 'P::a', 'P::a::b', 'P:a', 'Pa', 'p', 'Q::P'):
        posted(client, conv_id, max_tokens=1)
    assert sorted(ids(client, 'P')) == ['P', 'P::a', 'P::a::b']
    assert sorted(ids(client, 'P::a')) == ['P::a', 'P::a::b']
    assert ids(client, 'P::a::b') == ['P::a::b']
    for unknown in ('P::', '::', ':', 'P:', 'Q', 'P::a:', 'P::b', '*', '%', '.'):
        assert ids(client, unknown) == (['Q::P'] if unknown == 'Q' else []), unknown


def test_answers_come_in_the_order_asked(demo: Service) -> None:
    client = demo.client()
    names = ['o-2', 'o-0', 'o-3', 'o-1']
    for conv_id in sorted(names):
        posted(client, conv_id, max_tokens=1)
    assert ids(client, *names) == names
    assert ids(client, *reversed(names)) == names[::-1]
    assert ids(client, 'nobody', 'o-1', 'nobody either', 'o-0') == ['o-1', 'o-0']


def test_an_id_that_is_asked_twice_is_answered_once(demo: Service) -> None:
    client = demo.client()
    for conv_id in ('D', 'D::m'):
        posted(client, conv_id, max_tokens=1)
    assert sorted(ids(client, 'D', 'D', 'D::m', 'D')) == ['D', 'D::m']


def test_f43_what_is_asked_again_is_not_asked_of_the_supervisor() -> None:
    asked = {'conversation_ids': ['D', 'D::m', 'D', None, 'D::m', *['D'] * 1000]}
    assert asked_ids(json.dumps(asked).encode()) == ['D', 'D::m']


def test_every_worker_knows_every_stream(demo: Service) -> None:
    client = demo.client()
    posted(client, 'everywhere', max_tokens=1)
    expected = client.lookup('everywhere')
    body = json.dumps({'conversation_ids': ['everywhere']}).encode()
    with one_per_worker(demo.port) as workers:
        for pinned in workers:
            live = pinned.open('POST', TARGET, body)
            assert json.loads(live.rest()) == expected


@pytest.mark.parametrize('conv_id', ['naïve 你好 🦊', '"', '\\', 'a/b', ' ', '\u2028'])
def test_ids_of_any_kind_are_found(demo: Service, conv_id: str) -> None:
    client = demo.client()
    posted(client, f'any {conv_id}::m', max_tokens=1)
    assert ids(client, f'any {conv_id}') == [f'any {conv_id}::m']
    # The same in plain UTF-8: not all clients escape.
    body = json.dumps({'conversation_ids': [f'any {conv_id}']}, ensure_ascii=False)
    assert len(ask(client, body.encode()).json()) == 1


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b'{',
        b'not json',
        b'\xff\xfe\xfd',
        b'{"conversation_ids": ["\xff"]}',
        b'{"conversation_ids": [' + b'9' * 5000 + b']}',
        b'[' * 100_000,
        b'{"conversation_ids": ' + b'[' * 50_000 + b']' * 50_000 + b'}',
        b'{"a":' * 50_000,
        b'[]',
        b'["x"]',
        b'"x"',
        b'1',
        b'null',
        b'NaN',
    ],
    ids=range(15),
)
def test_what_is_no_object_is_refused(demo: Service, body: bytes) -> None:
    assert_error(ask(demo.client(), body), 400, 'invalid body: ')


def test_entries_that_no_stream_can_have_are_skipped(demo: Service) -> None:
    client = demo.client()
    posted(client, 'ok', max_tokens=1)
    odd = [None, 1, 1.5, True, '', [], ['ok'], {}, {'ok': 'ok'}, 'x' * 513, 'a\0', '\t']
    assert ids(client, *odd) == []
    assert ids(client, *odd, 'ok', *odd) == ['ok']
    # json.dumps writes a lone surrogate as an escape, as JavaScript does.
    assert ids(client, '\ud800', 'ok', 'ok\udfff', '\udc00\ud800') == ['ok']
    raw = b'{"conversation_ids": ["ok", "\\ud83d", "ok"], "more": {"a": [1]}}'
    assert len(ask(client, raw).json()) == 1


def test_nobody_asked_for_is_nobody_found(demo: Service) -> None:
    client = demo.client()
    posted(client, 'hidden', max_tokens=1)
    assert ids(client) == []
    for method in ('GET', 'HEAD', 'DELETE', 'PUT'):
        assert client.call(method, TARGET).status == 405
    assert_error(client.get(TARGET), 405, '')


def test_ten_thousand_ids_are_answered_and_one_more_is_not(demo: Service) -> None:
    client = demo.client()
    posted(client, 'last', max_tokens=1)
    many = [f'{n:036}' for n in range(9999)]
    with Stopwatch() as watch:
        assert ids(client, *many, 'last') == ['last']
    # It takes 50 ms: thousands of ids are what the web UI asks with.
    assert watch.seconds < 3
    body = json.dumps({'conversation_ids': [*many, 'last', 'more']}).encode()
    assert_error(ask(client, body), 413, '')
    # Entries that would be skipped count as well: they cost as much to read.
    assert_error(
        ask(client, json.dumps({'conversation_ids': [0] * 10_001}).encode()), 413, ''
    )


def test_thousands_of_ids_find_hundreds_of_streams(demo: Service) -> None:
    client = demo.client()
    names = [f'many-{n}' for n in range(300)]
    for conv_id in names:
        client.post(conv_id, {'max_tokens': 1}).close()
    asked = [name for name in names for name in (name, name + '-not')] * 5
    with Stopwatch() as watch:
        assert ids(client, *asked) == names
    assert watch.seconds < 3


def test_a_body_of_one_mebibyte_is_read_and_one_byte_more_is_not(
    demo: Service,
) -> None:
    client = demo.client()
    posted(client, 'fits', max_tokens=1)
    body = b'{"conversation_ids": ["fits"]}'
    assert len(ask(client, body.ljust(LIMIT)).json()) == 1
    coded = {'Transfer-Encoding': 'chunked'}
    assert len(ask(client, chunked(body.ljust(LIMIT)), **coded).json()) == 1
    assert_error(ask(client, body.ljust(LIMIT + 1)), 413, '')
    assert_error(ask(client, chunked(body.ljust(LIMIT + 1)), **coded), 413, '')


def test_a_length_that_is_too_much_is_refused_before_the_body(demo: Service) -> None:
    # Falcon looks at a request once a first piece of its body is there.
    length = {'Content-Length': str(LIMIT + 1)}
    raw = raw_ask(demo.port, f'POST {TARGET}', *length.items(), body=b'{')
    assert raw.status == 413
    assert json.loads(raw.body)['error']['code'] == 413
