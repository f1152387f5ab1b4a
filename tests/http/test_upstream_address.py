"""Wherever the upstream is: on a Unix socket, below a path, behind a proxy."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from tests.http.conftest import Watch
from tests.http.proxied import Proxied
from tests.http.raw import behind
from tests.http.wire import ask, numbered
from tests.support.client import path
from tests.support.frames import field
from tests.support.raw_upstream import Link, RawUpstream, Script
from tests.support.service import Service
from tests.support.tls import CERTIFICATE, server_context
from tests.support.upstream import Exchange

EVENTS = b'Content-Type: text/event-stream'
BODY = numbered(32)


def keeping(requests: list[bytes]) -> Script:
    """A script that keeps requests, and answers each with a stream."""

    def script(link: Link) -> None:
        while (request := link.request()) is not None:
            requests.append(request)
            link.reply(BODY, EVENTS)

    return script


def test_f87_a_unix_socket_a_fixed_query_and_a_key_of_another_name(
    tmp_path: Path, watch: Watch
) -> None:
    requests: list[bytes] = []
    socket_path = tmp_path / 'model.sock'
    settings = {'UPSTREAM_API_KEY': 'the-services', 'UPSTREAM_KEY_HEADER': 'API-Key'}
    with behind(
        tmp_path / 'log',
        address=lambda _: f'unix:{socket_path}?api-version=7',
        unix=socket_path,
        environment={'http_proxy': 'http://127.0.0.1:9', 'no_proxy': ''},
        settings=settings,
    ) as both:
        watch(both.service)
        both.does(keeping(requests))
        with both.client.post('here', {}, Authorization='Bearer clients') as post:
            assert post.rest() == BODY
        assert both.client.get(path('here')).body == BODY
        raw = ask(both.service.port, 'GET /v1/models?api-version=1&a=2')
        assert raw.status == 200
    first, second = requests
    assert first.startswith(b'POST /v1/chat/completions?api-version=7 HTTP/1.1\r\n')
    assert second.startswith(b'GET /v1/models?a=2&api-version=7 HTTP/1.1\r\n')
    for request in requests:
        assert field(request, b'Host') == b'localhost'
        assert field(request, b'api-key') == b'the-services'
        assert field(request, b'Authorization') is None


def test_f87_a_base_url_that_ends_in_v1_is_the_same_as_without(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(workers=1)
    seen: list[str] = []

    def script(exchange: Exchange) -> None:
        seen.append(exchange.target)
        exchange.reply(200, b'')

    proxied.script = script
    base = proxied.upstream.url + '/v1'
    with behind(Path(str(proxied.service.log) + '-v1'), address=lambda _: base) as both:
        for target in ('/v1/models', '/models'):
            assert both.client.get(target).status == 200
    assert seen == ['/v1/models', '/models']


def test_f87_a_proxy_leads_there(tmp_path: Path, watch: Watch) -> None:
    requests: list[bytes] = []
    with behind(
        tmp_path / 'log',
        address=lambda _: 'http://model.invalid:8080/base',
        environment={'no_proxy': 'other.invalid'},
    ) as direct:
        watch(direct.service)
        assert b'name was not found' in direct.client.get('/x').body
        direct.does(keeping(requests))
        there = direct.upstream.url.replace('http://', 'http://us:er%2F@')
        with behind(
            tmp_path / 'proxied-log',
            address=lambda _: 'http://model.invalid:8080/base',
            environment={'http_proxy': there, 'no_proxy': 'other.invalid'},
        ) as both:
            watch(both.service)
            with both.client.post('far', {}) as post:
                assert post.rest() == BODY
            assert both.client.get('/v1/x?').status == 200
    first, second = requests
    url = b'http://model.invalid:8080/base/v1'
    assert first.startswith(b'POST %s/chat/completions HTTP/1.1\r\n' % url)
    assert second.startswith(b'GET %s/x? HTTP/1.1\r\n' % url)
    for request in requests:
        assert field(request, b'Host') == b'model.invalid:8080'
        said = base64.b64encode(b'us:er/')
        assert field(request, b'Proxy-Authorization') == b'Basic ' + said


def test_f87_a_proxy_is_a_tunnel_for_tls(tmp_path: Path, watch: Watch) -> None:
    requests: list[bytes] = []
    context = server_context()

    def script(link: Link) -> None:
        connect = link.request()
        assert connect is not None
        requests.append(connect)
        link.send(b'HTTP/1.1 200 OK\r\n\r\n')
        with context.wrap_socket(link.sock, server_side=True) as tls:
            keeping(requests)(Link(tls, 0))

    with RawUpstream(script) as proxy:
        environment = {
            'https_proxy': proxy.url,
            'no_proxy': '',
            # A certificate of one's own is trusted as everywhere.
            'SSL_CERT_FILE': str(CERTIFICATE),
        }
        service = Service(
            tmp_path / 'log',
            workers=1,
            settings={'UPSTREAM': 'https://model.invalid/v1'},
            environment=environment,
        )
        with watch(service), service.client().post('secret', {}) as post:
            assert post.rest() == BODY
    tunnel, request = requests
    assert tunnel.startswith(b'CONNECT model.invalid:443 HTTP/1.1\r\n')
    assert field(tunnel, b'Authorization') is None
    assert request.startswith(b'POST /v1/chat/completions HTTP/1.1\r\n')
