"""What the upstream is told of its clients, and where its answers lead them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import ask, numbered
from tests.support.upstream import Exchange


def told(proxied: Proxied, *headers: tuple[str, str]) -> dict[str, list[str]]:
    """Ask with these headers; returns the ``X-Forwarded-*`` that the upstream gets."""
    seen: list[Exchange] = []

    def script(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.reply(200, b'')

    proxied.script = script
    assert ask(proxied.service.port, 'GET /', *headers).status == 200
    found: dict[str, list[str]] = {}
    for name, value in seen[0].headers:
        if name.lower().startswith('x-forwarded-'):
            found.setdefault(name.lower().removeprefix('x-forwarded-'), []).append(
                value
            )
    return found


def test_f82_the_upstream_knows_who_asked_and_for_what(proxied: Proxied) -> None:
    assert told(proxied) == {'for': ['127.0.0.1'], 'host': ['test'], 'proto': ['http']}


def test_f82_what_a_proxy_before_us_says_is_kept(proxied: Proxied) -> None:
    # gunicorn's forwarded_allow_ips is loopback: the scheme is the proxy's word, too.
    assert told(
        proxied,
        ('X-Forwarded-For', '203.0.113.7, 198.51.100.1'),
        ('X-Forwarded-For', '192.0.2.1'),
        ('X-Forwarded-Host', 'chat.example.org'),
        ('X-Forwarded-Proto', 'https'),
        ('X-Forwarded-Prefix', '/ai/'),
    ) == {
        'for': ['203.0.113.7, 198.51.100.1, 192.0.2.1, 127.0.0.1'],
        'host': ['chat.example.org'],
        'proto': ['https'],
        'prefix': ['/ai'],
    }


def test_f82_a_client_cannot_have_it_dropped(proxied: Proxied) -> None:
    names = 'X-Forwarded-For, X-Forwarded-Host, x-forwarded-proto'
    assert told(proxied, ('Connection', names)) == told(proxied)


@pytest.mark.parametrize('status', [201, 301, 302, 307, 308])
@pytest.mark.parametrize('prefix', ['', '/ai'])
def test_f82_where_an_answer_leads_is_ours(
    proxied: Proxied, status: int, prefix: str
) -> None:
    own = proxied.upstream.url
    proxied.script = lambda exchange: exchange.reply(
        status,
        b'',
        ('Location', f'{own}/slow?a=1'),
        ('Content-Location', f'{own}/slow'),
        ('Refresh', f'3; url={own}/slow'),
    )
    headers = [('X-Forwarded-Prefix', prefix)] if prefix else []
    raw = ask(proxied.service.port, 'GET /x', *headers)
    assert raw.all('location') == [f'{prefix}/slow?a=1']
    assert raw.all('content-location') == [f'{prefix}/slow']
    assert raw.all('refresh') == [f'3; url={prefix}/slow']


def test_f82_where_the_answer_to_a_stream_leads_is_ours(proxied: Proxied) -> None:
    own = proxied.upstream.url
    proxied.script = lambda exchange: exchange.reply(
        200,
        numbered(16),
        ('Content-Type', 'text/event-stream'),
        ('Content-Location', f'{own}/runs/1'),
    )
    with proxied.client.post('led', {}) as post:
        post.rest()
    assert own not in str(post.headers)


def test_f82_a_redirect_is_followed_through_us(
    proxy: Callable[..., Proxied], tmp_path: Path
) -> None:
    proxied = proxy(workers=1)

    def script(exchange: Exchange) -> None:
        if exchange.target == '/v1/x':
            there = ('Location', f'{proxied.upstream.url}/elsewhere')
            exchange.reply(307, b'', there)
        else:
            exchange.reply(200, exchange.target.encode())

    proxied.script = script
    reply = proxied.client.get('/v1/x')
    assert proxied.client.get(reply.headers['location']).body == b'/elsewhere'
