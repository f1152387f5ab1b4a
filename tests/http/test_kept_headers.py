"""F94: headers by which clients know a stream come with its replays, too."""

from __future__ import annotations

import pytest

from shmstream.kept_headers import kept, to_keep
from shmstream.ring.layout import MAX_KEPT
from tests.http.proxied import Proxied
from tests.http.wire import Pinned
from tests.support.client import path
from tests.support.upstream import Exchange

SENT = {
    'X-Vercel-AI-UI-Message-Stream': 'v1',
    'X-Request-Id': 'req_0123',
    'openai-processing-ms': '17',
    'openai-version': '2020-10-01',
    'anthropic-organization-id': 'a-b-c',
    'anthropic-ratelimit-requests-remaining': '99',
}


def test_f94_a_replay_has_them_and_so_has_a_look(proxied: Proxied) -> None:
    def answer(exchange: Exchange) -> None:
        more = {'Content-Type': 'text/event-stream', 'Server': 'x', 'Set-Cookie': 'a=b'}
        exchange.reply(200, b'data: {}\n\n', *(SENT | more).items())

    proxied.script = answer
    with proxied.client.post('kept', {}) as post:
        whole = post.rest()
    # In whichever worker.
    for _ in range(4):
        pinned = Pinned(proxied.service.port)
        for method in ('GET', 'HEAD'):
            reply = pinned.call(method, path('kept'))
            assert reply.body == (whole if method == 'GET' else b'')
            for name, value in SENT.items():
                assert reply.headers[name.lower()] == value
            assert 'set-cookie' not in reply.headers
        pinned.close()
    for name, value in SENT.items():
        assert post.headers[name.lower()] == value


def test_f94_a_stream_that_has_replaced_it_has_its_own(proxied: Proxied) -> None:
    for headers in (SENT, {}):

        def answer(exchange: Exchange, more: dict[str, str] = headers) -> None:
            kind = {'Content-Type': 'text/event-stream'}
            exchange.reply(200, b'data: {}\n\n', *(more | kind).items())

        proxied.script = answer
        with proxied.client.post('again', {}) as post:
            post.rest()
    reply = proxied.client.get(path('again'))
    assert not {name.lower() for name in SENT} & set(reply.headers)


def test_f94_what_there_is_no_room_for_is_left_out_whole() -> None:
    many = [(f'anthropic-ratelimit-{n}', 'x' * 60) for n in range(30)]
    ours = [('X-Request-Id', 'r' * 100), ('x-vercel-ai-ui-message-stream', 'v1')]
    lines = to_keep([*many, ('openai-version', '1'), *ours, ('openai-huge', 'y' * 900)])
    assert MAX_KEPT - 90 < len(lines) <= MAX_KEPT
    found = kept(lines)
    assert found[:3] == [
        (b'x-vercel-ai-ui-message-stream', b'v1'),
        (b'x-request-id', b'r' * 100),
        (b'openai-version', b'1'),
    ]
    assert set(found[3:]) <= {(n.encode(), v.encode()) for n, v in many}


@pytest.mark.parametrize('value', ['', 'a: b', ' caf\xe9', '\u20ac', 'a\nb'])
def test_f94_any_value_makes_one_header_at_the_most(value: str) -> None:
    found = kept(to_keep([('x-request-id', value)]))
    assert found in ([], [(b'x-request-id', value.encode('latin-1', 'replace'))])
