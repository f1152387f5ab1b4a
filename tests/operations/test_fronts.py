"""nginx and Caddy with the files that we ship: live, cut where it is cut, resumed."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.http.proxied import Proxied, proxied_with
from tests.operations.shipped import KUBERNETES, manifest, nginx_as_shipped
from tests.support import frames
from tests.support.caddy import Caddy
from tests.support.certificate import certificate, needs_openssl
from tests.support.client import TIMEOUT_S, Client, path
from tests.support.leaks import wait_until
from tests.support.nginx import AnyNginx, needs_nginx
from tests.support.raw_upstream import Link
from tests.support.upstream import Exchange

pytestmark = [needs_nginx, needs_openssl]


@dataclass(frozen=True)
class Front:
    """What stands in front of a service, and the service with its upstream."""

    server: AnyNginx | Caddy
    proxied: Proxied

    @property
    def client(self) -> Client:
        """A client of the front: HTTP/1.1 over TLS."""
        return self.server.client()

    @property
    def trusting(self) -> ssl.SSLContext:
        """For clients that trust its certificate."""
        if isinstance(self.server, Caddy):
            return self.server.trusting
        assert self.server.certificate is not None
        return self.server.certificate.trusting

    def http_2(self) -> httpx.Client:
        """A client that speaks HTTP/2 only."""
        return httpx.Client(
            http1=False,
            http2=True,
            base_url=f'https://127.0.0.1:{self.server.port}',
            verify=self.trusting,
            headers={'Accept-Encoding': 'identity'},
            timeout=TIMEOUT_S,
        )


@pytest.fixture(scope='module', params=['nginx', 'caddy'])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Each of them, in front of one service for all tests."""
    folder = tmp_path_factory.mktemp('front')
    with proxied_with({}, log=folder / 'service.log', workers=2) as proxied:
        port = proxied.service.port
        if request.param == 'caddy':
            with Caddy(folder, port) as caddy:
                yield Front(caddy, proxied)
        else:
            with nginx_as_shipped(folder, port, certificate(folder)) as nginx:
                yield Front(nginx, proxied)


@pytest.fixture
def front(shared: Front) -> Iterator[Front]:
    """The same; what a test leaves open upstream is let go."""
    yield shared
    shared.proxied.clear()


@pytest.mark.parametrize('kind', ['text/event-stream', 'application/x-ndjson'])
def test_every_event_passes_at_once(front: Front, kind: str) -> None:
    """Each event is only made when the one before has arrived: nothing is held back."""
    first, event = {
        'text/event-stream': (b'data: first\n\n', b'data: %d\n\n'),
        'application/x-ndjson': (b'{"first": 1}\n', b'{"number": %d}\n'),
    }[kind]
    feed = front.proxied.feed(kind, first=first)
    with front.client.post('live', {'feed': feed.token}) as post:
        post.until(len(first))
        with front.client.open('GET', path('live', 0)) as live:
            live.until(len(first))
            for number in range(20):
                size = len(live.body)
                feed.send(event % number)
                live.until(size + 1)
            feed.end()
            assert live.rest() == post.rest()
            assert (post.whole, live.whole) == (True, True)


def test_a_client_that_leaves_leaves_the_service(front: Front) -> None:
    feed = front.proxied.feed(first=b'data: x\n\n')
    policy = {'Stream-On-Disconnect': 'cancel'}
    with front.client.post('leaves', {'feed': feed.token}, **policy) as post:
        post.until(5)
    assert feed.hung_up()
    assert wait_until(lambda: front.proxied.client.lookup('leaves')[0]['is_done'])


def test_the_upstream_is_told_what_the_client_said(front: Front) -> None:
    seen: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.start(200, ('Content-Length', '0'))

    front.proxied.script = answer
    asked = {'session_id': 'one', 'Content-Type': 'application/json'}
    reply = front.client.call('POST', '/v1/other', b'{}', asked)
    assert reply.status == 200
    (exchange,) = seen
    assert exchange.header('session_id') == 'one'
    assert exchange.header('X-Forwarded-Proto') == 'https'


def test_a_websocket_is_passed_on(front: Front) -> None:
    def answer(exchange: Exchange) -> None:
        link = Link(exchange.sock, 0)
        key = exchange.header('Sec-WebSocket-Key')
        frames.accept(link, f'\r\nSec-WebSocket-Key: {key}\r\n\r\n'.encode())
        heard = frames.receive(link)
        assert heard is not None
        frames.send(link, *heard)
        frames.receive(link)

    front.proxied.script = answer
    with (
        socket.create_connection(('127.0.0.1', front.server.port), TIMEOUT_S) as sock,
        front.trusting.wrap_socket(sock, server_hostname='127.0.0.1') as tls,
    ):
        link = Link(tls, 0)
        host = f'127.0.0.1:{front.server.port}'.encode()
        head = frames.handshake(link, b'/v1/realtime', host=host)
        assert head.startswith(b'HTTP/1.1 101'), head
        frames.send(link, frames.TEXT, b'hello', masked=True)
        assert frames.receive(link) == (frames.TEXT, b'hello')
        frames.close(link, 1000, masked=True)


def test_a_cut_is_a_cut_and_resumes(front: Front) -> None:
    """1. Readers of both protocols read. 2. Their workers leave. 3. They resume."""
    feed = front.proxied.feed(first=b'data: first\n\n')
    with (
        front.client.post('cut', {'feed': feed.token}) as post,
        front.http_2() as http_2,
        front.client.open('GET', path('cut', 0)) as live,
        http_2.stream('GET', path('cut', 0)) as second,
    ):
        post.until(5)
        live.until(5)
        pieces = second.iter_raw()
        have = next(pieces)
        assert (second.http_version, live.status) == ('HTTP/2', 200)
        front.proxied.service.signal(signal.SIGHUP)
        live.rest()
        assert live.whole is False
        with pytest.raises(httpx.RemoteProtocolError):
            have += b''.join(pieces)
        feed.send(b'data: last\n\n')
        feed.end()
        whole = post.rest()
        assert whole.endswith(b'data: last\n\n')

        def resumed() -> bool:
            # The worker that leaves may have one of the next connections as well.
            with front.client.open('GET', path('cut', len(have))) as rest:
                rest.rest()
                return bool(rest.whole) and have + rest.body == whole

        assert wait_until(resumed)


@needs_nginx
def test_all_requests_of_a_conversation_are_hashed_alike(tmp_path: Path) -> None:
    """The variable by which ingress-nginx chooses a pod, in a plain nginx."""
    assert KUBERNETES.exists()
    snippet = manifest('ingress-nginx-config.yaml')['data']['http-snippet']
    notes = manifest('ingress.yaml')['metadata']['annotations']
    variable = notes['nginx.ingress.kubernetes.io/upstream-hash-by']
    answer = f"location / {{ return 200 '{variable}'; }}"

    def servers(port: int) -> str:
        listen = f'listen 127.0.0.1:{port};'
        return f'{snippet} underscores_in_headers on; server {{ {listen} {answer} }}'

    with AnyNginx(tmp_path, servers) as nginx:
        client = nginx.client()

        def key(method: str, target: str, **headers: str) -> str:
            named = {k.replace('_', '-'): v for k, v in headers.items()}
            return client.call(method, target, b'', named).body.decode()

        asked = [
            key('POST', '/v1/chat/completions', X_Conversation_Id='a::m'),
            key('GET', '/v1/stream/a%3A%3Am?from=7'),
            key('GET', '/v1/events/a::m'),
            key('GET', '/v1/stream?conv_id=a::m'),
            key('DELETE', '/v1/stream/a::m'),
        ]
        assert asked == ['a::m'] * 5
        assert key('GET', '/v1/stream/b%2Fc') == 'b/c'
        # What names none is spread.
        assert len({key('GET', '/v1/models') for _ in range(3)}) == 3
