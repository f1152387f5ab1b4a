"""What becomes no session: requests and answers pass as they are."""

from __future__ import annotations

import gzip

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import (
    Raw,
    as_header,
    ask,
    numbered,
)
from tests.support.upstream import Exchange

END_S = 5.0
FORWARDED = {
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-host': 'test',
    'x-forwarded-proto': 'http',
}
"""What every request is given on its way; ``test_forwarded`` looks closer."""

TEXT = ('Content-Type', 'text/plain')


def seen(
    proxied: Proxied, line: str, *headers: tuple[str, str], body: bytes = b''
) -> Exchange:
    """Make a request; returns it as the upstream sees it."""
    exchanges: list[Exchange] = []

    def script(exchange: Exchange) -> None:
        exchanges.append(exchange)
        exchange.reply(200, b'', TEXT)

    proxied.script = script
    raw = ask(proxied.service.port, line, *headers, body=body)
    assert raw.status == 200, raw
    (exchange,) = exchanges
    return exchange


def answered(
    proxied: Proxied, line: str, status: int, body: bytes, *headers: tuple[str, str]
) -> Raw:
    """Make a request that the upstream answers with this."""
    proxied.script = lambda exchange: exchange.reply(status, body, *headers)
    return ask(proxied.service.port, line)


@pytest.mark.parametrize(
    'method', ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']
)
def test_method_and_body_arrive(proxied: Proxied, method: str) -> None:
    body = bytes(range(256))
    length = ('Content-Length', str(len(body)))
    exchange = seen(proxied, f'{method} /v1/files', length, body=body)
    assert (exchange.method, exchange.body) == (method, body)


@pytest.mark.parametrize(
    'target',
    [
        '/',
        '/v1/files/a%2Fb%20c',
        '/%e4%bd%a0%E5%A5%BD',
        '/%FF%00',
        '/a+b;c=d,e@f:g',
        '/a/../b/./c',
        '/a//b///',
        '/%2e%2e/%2E',
        '/x?a=1&a=2&b=%2F%26&c=d+e',
        '/x?url=http://other/?q=1',
        '/x?%FF=%00',
        '/x?',
        '/?',
        '/x??',
        '/metrics',
        '/health',
        '/v1/streams',
        '/_other/',
        '/' + 'x' * 3000,
    ],
)
def test_the_target_arrives_as_it_was_written(proxied: Proxied, target: str) -> None:
    assert seen(proxied, f'GET {target}').target == target


def test_end_to_end_headers_arrive_and_no_others(proxied: Proxied) -> None:
    sent = [
        ('Accept', 'text/event-stream'),
        ('Accept-Encoding', 'gzip, br'),
        ('Authorization', 'Bearer the-clients'),
        ('Content-Type', 'application/json; charset=utf-8'),
        ('Cookie', 'a=1; b=2'),
        ('User-Agent', 'test/1'),
        ('X-Twice', '1'),
        ('X-Twice', '2'),
        ('X-Empty', ''),
        ('X-Stainless-Lang', 'python'),
    ]
    exchange = seen(
        proxied, 'POST /v1/files', *sent, ('Content-Length', '2'), body=b'{}'
    )
    got = sorted((name.lower(), value) for name, value in exchange.headers)
    assert got == sorted(
        [
            *((name.lower(), value) for name, value in sent),
            *FORWARDED.items(),
            ('content-length', '2'),
            ('host', proxied.upstream.url.removeprefix('http://')),
        ]
    )


def test_header_values_in_utf_8_arrive_and_come_back(proxied: Proxied) -> None:
    # http.client and http.server map bytes to characters one to one.
    header = ('X-Title', as_header('café 你好'))
    assert answered(proxied, 'GET /', 200, b'', header).all('x-title') == [header[1]]
    assert seen(proxied, 'GET /', header).header('X-Title') == header[1]


def test_nothing_is_made_up_for_a_bare_request(proxied: Proxied) -> None:
    exchange = seen(proxied, 'GET /v1/models')
    assert {name.lower() for name, _ in exchange.headers} == {'host', *FORWARDED}


def test_hop_by_hop_headers_end_here(proxied: Proxied) -> None:
    exchange = seen(
        proxied,
        'GET /',
        ('Connection', 'X-Named, keep-alive'),
        ('X-Named', '1'),
        ('Keep-Alive', 'timeout=5'),
        ('Proxy-Authorization', 'Basic eDp5'),
        ('Proxy-Connection', 'keep-alive'),
        ('TE', 'trailers'),
        ('X-Kept', '1'),
    )
    names = [name.lower() for name, _ in exchange.headers]
    assert sorted(names) == sorted(['host', 'x-kept', *FORWARDED])


def test_header_values_are_bytes_and_not_re_encoded(proxied: Proxied) -> None:
    # Read and written as latin-1 here: a character for each byte.
    for value in ('caf\xe9', '\xff\xfe', as_header('é') + '\xe9'):
        header = ('X-Title', value)
        assert seen(proxied, 'GET /', header).header('X-Title') == value
        length = ('Content-Length', '2')
        exchange = seen(proxied, 'POST /', header, length, body=b'{}')
        assert (exchange.header('X-Title'), exchange.body) == (value, b'{}')
        assert answered(proxied, 'GET /', 200, b'', header).all('x-title') == [value]


def test_f83_names_with_underscores_arrive(proxied: Proxied) -> None:
    sent = [('session_id', 'a'), ('Conversation_ID', 'b'), ('x-session-id', 'c')]
    exchange = seen(proxied, 'GET /', *sent)
    for name, value in sent:
        assert exchange.header(name) == value


@pytest.mark.parametrize(
    'name',
    [
        *('X_Forwarded_For', 'x-forwarded_host', 'X_API_KEY', 'content_length'),
        *('X_Forwarded_User', 'x_forwarded-ssl', 'SCRIPT_NAME', 'Path_Info'),
        *('REMOTE_USER', 'remote_addr', 'X_Remote_User', 'x-remote_user'),
    ],
)
def test_f83_names_that_would_pass_for_ours_do_not(proxied: Proxied, name: str) -> None:
    # Many a server makes HTTP_X_FORWARDED_FOR of both.
    exchange = seen(proxied, 'GET /', (name, '7'))
    assert exchange.header(name) is None


def test_our_own_headers_are_not_the_upstreams_business(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(16))
    feed.end()
    post = proxied.post('own', feed, **{'Stream-On-Disconnect': 'grace=5'})
    with post:
        post.rest()
    assert feed.exchange.header('X-Conversation-Id') is None
    assert feed.exchange.header('Stream-On-Disconnect') is None
    # Also when they mean nothing.
    exchange = seen(proxied, 'GET /', ('X-Conversation-Id', 'x'))
    assert exchange.header('X-Conversation-Id') is None


@pytest.mark.parametrize(
    'status',
    [200, 201, 202, 203, 301, 302, 307, 308, 400, 401, 404, 418, 429, 500, 503],
)
def test_status_and_body_come_back(proxied: Proxied, status: int) -> None:
    body = b'{"a": "\xff"}'
    raw = answered(
        proxied,
        'GET /v1/x',
        status,
        body,
        ('Content-Type', 'application/vnd.test; a=b'),
        ('Location', 'http://elsewhere/?a=%2F'),
        ('Retry-After', '7'),
        ('ETag', '"x"'),
        ('Cache-Control', 'max-age=5'),
    )
    assert (raw.status, raw.body) == (status, body)
    assert raw.all('content-type') == ['application/vnd.test; a=b']
    assert raw.all('content-length') == [str(len(body))]
    assert raw.all('location') == ['http://elsewhere/?a=%2F']
    assert raw.all('retry-after') == ['7']
    assert raw.all('etag') == ['"x"']
    assert raw.all('cache-control') == ['max-age=5']


def test_response_headers_come_back_once_each(proxied: Proxied) -> None:
    raw = answered(
        proxied,
        'GET /',
        200,
        b'x',
        ('Set-Cookie', 'a=1; Path=/'),
        ('Set-Cookie', 'b=2; Expires=Wed, 09 Jun 2032 10:18:14 GMT'),
        ('X-Twice', '1'),
        ('X-Twice', '2'),
        ('Date', 'Mon, 01 Jan 2024 00:00:00 GMT'),
        ('Server', 'upstream/1'),
        ('Connection', 'X-Named'),
        ('X-Named', 'secret'),
        ('Keep-Alive', 'timeout=5'),
        ('Proxy-Authenticate', 'Basic'),
    )
    assert raw.all('set-cookie') == [
        'a=1; Path=/',
        'b=2; Expires=Wed, 09 Jun 2032 10:18:14 GMT',
    ]
    # Two lines or one list: they mean the same (RFC 9110 section 5.3).
    assert ', '.join(raw.all('x-twice')) == '1, 2'
    assert raw.all('date') == ['Mon, 01 Jan 2024 00:00:00 GMT']
    assert raw.all('server') == ['upstream/1']
    for dropped in ('x-named', 'keep-alive', 'proxy-authenticate'):
        assert raw.all(dropped) == []


def test_an_answer_without_a_type_is_given_none(proxied: Proxied) -> None:
    assert answered(proxied, 'GET /', 200, b'x').all('content-type') == []


def test_head_and_empty_answers_have_no_body(proxied: Proxied) -> None:
    length = ('Content-Length', '12345')
    proxied.script = lambda exchange: exchange.start(200, length, TEXT)
    raw = ask(proxied.service.port, 'HEAD /v1/big')
    assert (raw.status, raw.body, raw.all('content-length')) == (200, b'', ['12345'])
    proxied.script = lambda exchange: exchange.start(204, ('X-A', '1'))
    raw = ask(proxied.service.port, 'DELETE /v1/x')
    assert (raw.status, raw.body, raw.all('content-length')) == (204, b'', [])
    assert raw.all('x-a') == ['1']
    proxied.script = lambda exchange: exchange.start(304, ('ETag', '"a"'))
    raw = ask(proxied.service.port, 'GET /v1/x')
    assert (raw.status, raw.body, raw.all('etag')) == (304, b'', ['"a"'])


def test_compressed_answers_stay_compressed(proxied: Proxied) -> None:
    packed = gzip.compress(numbered(10_000))
    raw = answered(proxied, 'GET /', 200, packed, ('Content-Encoding', 'gzip'), TEXT)
    assert raw.all('content-encoding') == ['gzip']
    assert raw.body == packed


def test_an_answer_streams_through_as_it_comes(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(160))
    with proxied.client.post(None, {'feed': feed.token}) as post:
        assert post.until(160) == numbered(160)
        assert 'stream-generation' not in post.headers
        feed.send(numbered(160, 10))
        post.until(320)
        feed.end()
        assert post.rest() == numbered(320)
        assert post.whole


def test_an_answer_that_breaks_off_is_not_made_whole(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(160))
    with proxied.client.post(None, {'feed': feed.token}) as post:
        post.until(160)
        feed.break_off()
        assert post.rest() == numbered(160)
        assert post.whole is False


def test_a_client_that_leaves_ends_what_nobody_can_resume(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(160))
    with proxied.client.post(None, {'feed': feed.token}) as post:
        post.until(160)
    assert feed.hung_up(END_S)


@pytest.mark.parametrize('start', ['@', '%2F@', '.', ':80/', 'x'])
def test_a_target_that_is_no_path_leads_nowhere(proxied: Proxied, start: str) -> None:
    # Put together with the upstream's address it could be another host's.
    asked: list[str] = []
    proxied.script = lambda exchange: asked.append(exchange.target)
    port = proxied.upstream.url.rpartition(':')[2]
    raw = ask(proxied.service.port, f'GET {start}127.0.0.1:{port}/x')
    assert 400 <= raw.status < 500
    assert asked == []


@pytest.mark.parametrize(
    ('target', 'path'),
    [
        ('http://other/v1/x?a=1', '/v1/x?a=1'),
        ('HTTP://other:1/', '/'),
        ('https://other', '/'),
        ('http://other/a%2Fb?', '/a%2Fb?'),
        ('http://other/a//x', '/a//x'),
    ],
)
def test_a_target_may_be_a_whole_url(proxied: Proxied, target: str, path: str) -> None:
    exchange = seen(proxied, f'GET {target}')
    assert exchange.target == path
    assert exchange.header('X-Forwarded-Host') in ('other', 'other:1')
    # And it is the upstream that is asked, whatever it names.
    assert exchange.header('Host') == proxied.upstream.url.removeprefix('http://')


def test_our_own_routes_may_be_asked_for_by_a_whole_url(proxied: Proxied) -> None:
    raw = ask(proxied.service.port, 'GET http://other/v1/stream/none')
    assert (raw.status, b'Stream not found' in raw.body) == (404, True)


@pytest.mark.parametrize('target', ['http:///x', 'http://u@h/x', 'ftp://h/x', 'http:x'])
def test_a_url_that_is_none_leads_nowhere(proxied: Proxied, target: str) -> None:
    asked: list[str] = []
    proxied.script = lambda exchange: asked.append(exchange.target)
    assert ask(proxied.service.port, f'GET {target}').status == 400
    assert asked == []


@pytest.mark.parametrize('second', ['b', 'a', ''])
def test_two_ids_are_refused(proxied: Proxied, second: str) -> None:
    ids = [('X-Conversation-Id', 'a'), ('x-conversation-id', second)]
    raw = ask(proxied.service.port, 'POST /v1/x', *ids, ('Content-Length', '0'))
    assert raw.status == 400
    assert b'x-conversation-id must come once' in raw.body


def test_the_status_of_a_stream_is_kept(proxied: Proxied) -> None:
    stream = ('Content-Type', 'text/event-stream')
    proxied.script = lambda exchange: exchange.reply(201, numbered(32), stream)
    with proxied.client.post('made', {}) as post:
        assert (post.status, post.rest()) == (201, numbered(32))
    assert proxied.client.get('/v1/stream/made').status == 200
