"""F91: on whose behalf a browser asks, and by which name."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from shmstream.errors import SettingsError
from shmstream.host_names import HostNames
from shmstream.http.gate import Gate
from shmstream.http.origins import Origins
from shmstream.settings import Settings
from tests.http.wire import assert_error
from tests.support.client import path
from tests.support.service import Service
from tests.support.upstream import Exchange, Script, ScriptedUpstream

PAGE = 'https://chat.example.org'
FOREIGN = {'Sec-Fetch-Site': 'cross-site', 'Origin': 'https://evil.example'}
NO_CORS = {'Sec-Fetch-Mode': 'no-cors', 'Content-Type': 'text/plain'}


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp('gate') / 'service.log'
    settings = {'CORS_ORIGINS': PAGE, 'DEMO_RATE': '1000'}
    with Service(log, workers=2, settings=settings) as service:
        yield service


BODY = b'{"messages": [], "stream": true, "max_tokens": 3}'


def test_f91_a_page_of_another_site_starts_and_stops_nothing(service: Service) -> None:
    client = service.client()
    with client.post('victim', {'max_tokens': 3}) as live:
        whole = live.rest()
    foreign = FOREIGN | NO_CORS
    for method, target in (
        ('POST', '/v1/chat/completions'),
        ('POST', '/v1/chat/completions?conv_id=x'),
        ('DELETE', path('victim')),
        ('POST', '/v1/streams/lookup'),
        ('PUT', '/anything'),
    ):
        reply = client.call(method, target, BODY, foreign)
        assert_error(reply, 403, 'SHMSTREAM_CORS_ORIGINS')
    assert client.get(path('victim')).body == whole


@pytest.mark.parametrize('target', [path('victim'), '/v1/models', '/healthz', '/'])
@pytest.mark.parametrize('mode', ['cors', 'no-cors', 'same-origin', None])
def test_f91_nor_does_it_read_anything(
    service: Service, target: str, mode: str | None
) -> None:
    headers = {'Sec-Fetch-Site': 'cross-site'}
    if mode is not None:
        headers['Sec-Fetch-Mode'] = mode
    assert service.client().call('GET', target, headers=headers).status == 403
    reply = service.client().call('HEAD', target, headers=headers)
    assert (reply.status, reply.body) == (403, b'')


def test_f91_a_link_to_a_page_is_followed(service: Service) -> None:
    client = service.client()
    navigates = {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate'}
    for target in ('/', '/_shmstream/'):
        assert client.call('GET', target, headers=navigates).status == 200
        assert client.call('HEAD', target, headers=navigates).status == 200
    # A form that is sent from there is no link.
    form = navigates | {'Content-Type': 'text/plain', 'Origin': 'https://evil.example'}
    reply = client.call('POST', '/v1/chat/completions', BODY, form)
    assert reply.status == 403


@pytest.mark.parametrize('site', ['same-origin', 'same-site', 'none', None])
def test_f91_whoever_else_asks_is_answered(service: Service, site: str | None) -> None:
    headers = {} if site is None else {'Sec-Fetch-Site': site}
    reply = service.client().call('POST', '/v1/chat/completions', BODY, headers)
    assert reply.status == 200


def test_f91_a_page_that_is_named_is_answered(service: Service) -> None:
    headers = {'Sec-Fetch-Site': 'cross-site', 'Origin': PAGE}
    reply = service.client().call('POST', '/v1/chat/completions', BODY, headers)
    assert reply.status == 200
    assert reply.headers['access-control-allow-origin'] == PAGE


def test_f91_where_every_origin_is_named_none_is_refused(
    serve: Callable[..., Service],
) -> None:
    client = serve(workers=2, settings={'CORS_ORIGINS': '*'}).client()
    for headers in (FOREIGN, {'Sec-Fetch-Site': 'cross-site'}):
        assert client.call('GET', '/v1/models', headers=headers).status == 200


def status_line(port: int, head: str) -> bytes:
    with socket.create_connection(('127.0.0.1', port), 20) as sock:
        sock.sendall(head.replace('\n', '\r\n').encode() + b'\r\n')
        return sock.makefile('rb').readline()


@pytest.mark.parametrize(
    'marks',
    [
        'Origin: https://evil.example\nSec-Fetch-Site: cross-site\n',
        'Origin: https://evil.example\n',
        'Origin: null\n',
    ],
)
def test_f91_a_websocket_of_another_site_is_not_opened(
    service: Service, marks: str
) -> None:
    key = base64.b64encode(bytes(16)).decode()
    head = (
        f'GET /v1/realtime HTTP/1.1\nHost: 127.0.0.1:{service.port}\n'
        'Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n'
        f'Sec-WebSocket-Key: {key}\n{marks}'
    )
    assert b' 403 ' in status_line(service.port, head)


def refusal(kind: str, method: str, *headers: tuple[str, str]) -> int | None:
    """The status with which a request is refused; None if it is let in."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {'type': kind, 'method': method, 'scheme': 'http', 'headers': raw}
    why = Gate(HostNames(()), Origins((PAGE,))).refusal(scope)
    return None if why is None else why.status


LAN = ('host', '192.168.1.5:8000')
EVIL = ('origin', 'https://evil.example')


@pytest.mark.parametrize('method', ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
def test_f91_a_page_starts_nothing_where_browsers_mark_no_requests(method: str) -> None:
    """Over plain http to a name that is not localhost, there is no Sec-Fetch-Site."""
    assert refusal('http', method, LAN, EVIL) == 403
    assert refusal('http', method, LAN, ('origin', 'null')) == 403
    assert refusal('http', method, EVIL) == 403
    for own in ('http://192.168.1.5:8000', PAGE):
        assert refusal('http', method, LAN, ('origin', own)) is None
    # No page: an SDK, curl.
    assert refusal('http', method, LAN) is None
    # Where they mark them, the mark counts: a proxy may have changed the name.
    for site in ('same-origin', 'same-site', 'none'):
        marked = ('sec-fetch-site', site)
        assert refusal('http', method, LAN, EVIL, marked) is None


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_f91_what_changes_nothing_is_left_to_cors_there(method: str) -> None:
    assert refusal('http', method, LAN, EVIL) is None


def test_f91_it_is_so_in_the_service(service: Service) -> None:
    headers = {'Origin': 'https://evil.example', 'Content-Type': 'text/plain'}
    client = service.client()
    for method, target in (
        ('POST', '/v1/chat/completions'),
        ('DELETE', '/v1/stream/x'),
    ):
        reply = client.call(method, target, BODY, headers)
        assert_error(reply, 403, 'SHMSTREAM_CORS_ORIGINS')


@pytest.mark.parametrize(
    ('origin', 'host', 'known_as', 'own'),
    [
        ('http://localhost', 'localhost:80', None, True),
        ('https://localhost', 'localhost:80', None, False),
        ('http://localhost:8000', 'localhost:8000', None, True),
        ('http://localhost:8000', 'LocalHost:8000', None, True),
        ('http://localhost', 'localhost:8000', None, False),
        ('http://[::1]', '[::1]:80', None, True),
        ('https://a.test', 'inner:8000', 'a.test, inner', True),
        ('https://a.test', 'inner:8000', 'a.test:443 , inner:80', True),
        ('https://a.test', 'inner:8000', 'A.test:443', True),
        ('https://a.test:8443', 'inner:8000', 'a.test:8443', True),
        ('http://a.test', 'inner:8000', 'a.test:443', False),
        ('https://inner', 'x', 'a.test, inner', False),
        ('https://a.test', 'inner', ', a.test', False),
        ('null', 'null', 'null', False),
        ('https://', '', '', False),
        ('', '', '', False),
        ('a.test', 'a.test', None, False),
        ('https://a.test:443.evil', 'a.test', None, False),
    ],
)
def test_f91_a_page_of_the_service_is_known_by_every_writing_of_its_name(
    origin: str, host: str, known_as: str | None, own: bool
) -> None:
    headers = [('host', host), ('origin', origin)]
    if known_as is not None:
        headers.append(('x-forwarded-host', known_as))
        # The first is of the proxy that is nearest to the browser.
        headers.append(('x-forwarded-host', 'other.test'))
    expected = None if own else 403
    assert refusal('websocket', 'GET', *headers) == expected
    assert refusal('http', 'POST', *headers) == expected


# -- names --------------------------------------------------------------------------


@pytest.fixture(scope='module')
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp('hosts') / 'service.log'
    hosts = 'Chat.example.org, *.apps.example.org:8443, 127.0.0.1, [::1]:9000'
    with Service(log, workers=2, settings={'HOSTS': hosts}) as service:
        yield service


@pytest.mark.parametrize(
    ('host', 'served'),
    [
        ('chat.example.org', True),
        ('CHAT.example.ORG:1234', True),
        ('chat.example.org.', True),
        ('a.apps.example.org:8443', True),
        ('a.b.apps.example.org:8443', True),
        ('a.apps.example.org', False),
        ('apps.example.org:8443', False),
        ('127.0.0.1:8000', True),
        ('[::1]:9000', True),
        ('[::1]', False),
        ('evil.example', False),
        ('chat.example.org.evil.example', False),
        ('localhost', False),
        ('chat.example.org@evil.example', False),
        ('', False),
    ],
)
@pytest.mark.parametrize('target', ['/v1/models', '/v1/stream/a', '/'])
def test_f91_only_the_names_that_are_set_are_served(
    named: Service, host: str, served: bool, target: str
) -> None:
    head = f'GET {target} HTTP/1.1\nHost: {host}\nConnection: close\n'
    status = status_line(named.port, head)
    assert (b' 421 ' not in status) == served
    if not served:
        assert b' 421 ' in status or b' 400 ' in status


def test_f91_the_refusal_says_which_setting_it_is(named: Service) -> None:
    head = b'GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n'
    with socket.create_connection(('127.0.0.1', named.port), 20) as sock:
        sock.sendall(head)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 421
        assert 'SHMSTREAM_HOSTS' in json.load(answer)['error']['message']


@pytest.mark.parametrize(
    'value',
    [',', 'https://x', 'a b', 'x:99999', 'x/', '*', 'x:*', 'b\xfccher', '[::1'],
)
def test_f91_what_no_request_can_name_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r'^SHMSTREAM_HOSTS: '):
        Settings.from_environment({'SHMSTREAM_HOSTS': value})


# -- keys ---------------------------------------------------------------------------

KEY, OTHER = 'key-one-0123456789', 'key-two-9876543210'


@pytest.mark.parametrize('name', ['x-api-key', 'api-key', 'X-API-Key'])
def test_f92_our_keys_are_taken_from_the_headers_that_clients_send(
    serve: Callable[..., Service],
    upstream: Callable[[Script], ScriptedUpstream],
    name: str,
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.reply(200, b'{}', ('Content-Type', 'application/json'))

    behind = upstream(answer)
    settings = {'API_KEYS': f'{KEY},{OTHER}', 'UPSTREAM': behind.url}
    client = serve(workers=2, settings=settings).client()
    assert client.get('/v1/models', **{name: KEY}).status == 200
    # It is ours, and stays here; what is none of ours goes on.
    assert behind.exchanges[-1].header(name) is None
    both = {'Authorization': f'Bearer {KEY}', name: 'the-upstream-s'}
    assert client.get('/v1/models', **both).status == 200
    assert behind.exchanges[-1].header(name) == 'the-upstream-s'
    assert behind.exchanges[-1].header('Authorization') is None
    # Some clients send a placeholder beside it.
    both = {'Authorization': 'Bearer none', name: KEY}
    assert client.get('/v1/models', **both).status == 200
    for wrong in (f'{KEY}x', f'Bearer {KEY}', '', '\xff'):
        assert client.get('/v1/models', **{name: wrong}).status == 401
