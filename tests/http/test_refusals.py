"""GET, HEAD and DELETE of what is not there, or is asked for wrongly."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import (
    JSON,
    Pinned,
    as_header,
    ask,
    assert_error,
    numbered,
    posted,
    read_to_end,
)
from tests.http.wire import connect as raw_connect
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.service import Service

NO_ID = ['/v1/stream', '/v1/stream/', '/v1/stream?conv_id=', '/v1/stream/?from=3']

BAD_OFFSETS = [
    '',
    '-1',
    '+1',
    '%2B1',
    '1e3',
    '0x10',
    '1.0',
    '1_000',
    '1,000',
    '%201',
    '1%20',
    '1%0A',
    '1%00',
    str(2**63),
    '9' * 20,
    '9' * 3000,
    '%D9%A1',  # Arabic-Indic one
    '%EF%BC%91',  # full-width one
    '%C2%B2',  # superscript two
    '%FF',
    'NaN',
    'inf',
    'null',
    'end',
]

BAD_IDS = {
    'not-utf-8': b'\xff',
    'cut-utf-8': b'ab\xc3',
    'overlong-utf-8': b'\xc0\xaf',
    'surrogate': b'\xed\xa0\x80',
    'nul': b'a\x00b',
    'newline': b'a\nb',
    'tab': b'a\tb',
    'escape': b'\x1b[2J',
    'delete': b'a\x7f',
    'c1': 'a\x85b'.encode(),
    'too-long': b'x' * 513,
    'too-long-in-bytes': 'é'.encode() * 257,
}


@pytest.mark.parametrize('method', ['GET', 'DELETE'])
@pytest.mark.parametrize('target', NO_ID)
def test_without_an_id_there_is_nothing_to_do(
    demo: Service, method: str, target: str
) -> None:
    reply = demo.client().call(method, target)
    assert_error(reply, 400, 'Missing conversation id in path')


@pytest.mark.parametrize('query', ['', '?from=0', '?from=999', '?from=0&x=y'])
def test_an_unknown_id_is_not_found(demo: Service, query: str) -> None:
    reply = demo.client().get('/v1/stream/unknown' + query)
    assert_error(reply, 404, 'Stream not found or expired')


@pytest.mark.parametrize('offset', BAD_OFFSETS)
def test_an_offset_is_a_plain_decimal_number(demo: Service, offset: str) -> None:
    client = demo.client()
    posted(client, 'offsets')
    for target in (
        f'/v1/stream/offsets?from={offset}',
        f'/v1/stream?conv_id=offsets&from={offset}',
    ):
        reply = client.get(target)
        assert_error(reply, 400, "Invalid 'from' offset")


@pytest.mark.parametrize('raw', BAD_IDS.values(), ids=BAD_IDS)
@pytest.mark.parametrize('form', ['/v1/stream/{}', '/v1/stream?conv_id={}'])
@pytest.mark.parametrize('method', ['GET', 'DELETE'])
def test_an_id_that_cannot_be_is_refused(
    demo: Service, method: str, form: str, raw: bytes
) -> None:
    reply = demo.client().call(method, form.format(quote(raw, safe='')))
    error = assert_error(reply, 400, '')
    assert 'id' in error['message']


@pytest.mark.parametrize('name', ['not-utf-8', 'tab', 'c1', 'too-long'])
def test_nothing_is_produced_under_an_id_that_cannot_be(
    proxied: Proxied, name: str
) -> None:
    feed = proxied.feed(first=numbered(16))
    conv_id = BAD_IDS[name].decode('latin-1')
    with proxied.post(conv_id, feed) as post:
        assert_error(post, 400, 'id')
    assert not feed.asked


@pytest.mark.parametrize(
    'generation', ['', '0', 'x' * 16, 'F' * 16, '0' * 15, '0' * 17, '%00' * 16, '-1']
)
def test_a_generation_is_sixteen_hexadecimal_digits(
    demo: Service, generation: str
) -> None:
    client = demo.client()
    posted(client, 'generations')
    reply = client.get(f'/v1/stream/generations?generation={generation}')
    assert_error(reply, 400, 'generation')


def test_another_generation_is_a_conflict_not_other_bytes(demo: Service) -> None:
    client = demo.client()
    posted(client, 'replaced')
    old = client.call('HEAD', path('replaced')).headers['stream-generation']
    posted(client, 'replaced')
    new = client.call('HEAD', path('replaced')).headers['stream-generation']
    assert old != new
    assert_error(
        client.get(path('replaced', 10, generation=old)), 409, 'Stream was replaced'
    )
    assert client.get(path('replaced', 10, generation=new)).status == 200
    # Of a stream that is not there, no generation is.
    assert_error(client.get(path('unknown', generation=old)), 404, 'Stream not found')


def test_head_refuses_as_get_does_without_a_body(demo: Service) -> None:
    posted(demo.client(), 'h')
    for target, status in (
        ('/v1/stream', 400),
        ('/v1/stream/unknown', 404),
        ('/v1/stream/h?from=x', 400),
        ('/v1/stream/h?generation=0000000000000000', 409),
        ('/v1/stream/%FF', 400),
    ):
        raw = ask(demo.port, f'HEAD {target}')
        assert (raw.status, raw.body) == (status, b''), target
        assert raw.all('content-type') == [JSON]


@pytest.mark.parametrize('method', ['POST', 'PUT', 'PATCH'])
def test_a_stream_takes_no_other_methods(demo: Service, method: str) -> None:
    reply = demo.client().call(method, '/v1/stream/x', b'')
    assert_error(reply, 405, '')
    assert {'GET', 'HEAD', 'DELETE'} <= set(reply.headers['allow'].split(', '))


def test_a_refusal_leaves_the_connection_usable(demo: Service) -> None:
    posted(demo.client(), 'usable')
    with Pinned(demo.port) as pinned:
        for target, status in (
            ('/v1/stream/usable?from=x', 400),
            ('/v1/stream/unknown', 404),
            ('/v1/stream', 400),
            ('/v1/stream/usable', 200),
        ):
            assert pinned.call('GET', target).status == status


def test_what_is_not_http_is_refused_quietly(demo: Service) -> None:
    for nonsense in (b'\x16\x03\x01\x02\x00\x01\x00', b'GET\r\n\r\n', b'\x00' * 64):
        with raw_connect(demo.port) as sock:
            sock.sendall(nonsense + b'\r\n\r\n')
            answer = read_to_end(sock)
            assert answer == b'' or answer.split()[1].startswith(b'4')


def test_a_path_cannot_forge_a_line_of_the_log(serve: Callable[..., Service]) -> None:
    demo = serve(arguments=('--access-logfile', '-'))
    for control in ('%0A', '%0D', '%1B', '%C2%85', '%E2%80%A8'):
        demo.client().get(f'/v1/stream/x{control}forged')
        demo.client().get(f'/nothing{control}forged')
    assert wait_until(lambda: demo.log.read_bytes().count(b'forged') >= 10)
    for line in demo.text().splitlines():
        assert not line.startswith('forged')
    assert b'\x1b' not in demo.log.read_bytes()


@pytest.mark.parametrize('target', ['/v1/stream/x', '/v1/realtime'])
def test_a_websocket_is_refused_quietly(demo: Service, target: str) -> None:
    raw = ask(
        demo.port,
        f'GET {target}',
        ('Connection', 'Upgrade'),
        ('Upgrade', 'websocket'),
        ('Sec-WebSocket-Version', '13'),
        ('Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='),
    )
    assert 400 <= raw.status < 500
    assert 'Traceback' not in demo.text()


def test_an_id_of_any_kind_makes_a_location_that_can_be_read(demo: Service) -> None:
    client = demo.client()
    conv_id = 'ä ü"\\'
    posted(client, conv_id)
    with client.post(as_header(conv_id), {'max_tokens': 1}) as post:
        location = post.headers['location']
    assert location.isascii()
    assert client.get(location).status == 200
