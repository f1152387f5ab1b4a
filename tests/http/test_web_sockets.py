"""WebSockets are relayed, both ways, without a session."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http.conftest import Watch
from tests.http.raw import Behind, behind
from tests.http.wire import connect
from tests.support import frames
from tests.support.frames import BINARY, PING, PONG, TEXT
from tests.support.leaks import wait_until
from tests.support.raw_upstream import Link
from tests.support.service import Service

KEY = 'key-of-ours'
PAGE = 'https://page.example'
BEARER = b'Authorization: Bearer ' + KEY.encode()


@pytest.fixture(scope='module')
def sockets(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Behind]:
    log = tmp_path_factory.mktemp('sockets') / 'service.log'
    settings = {
        'API_KEYS': KEY,
        'CORS_ORIGINS': PAGE,
        'UPSTREAM_API_KEY': 'the-services',
        'UPSTREAM_CONNECT_TIMEOUT': '5',
    }
    with behind(log, settings=settings) as both:
        watch_module(both.service)
        yield both


class Upstream:
    """A script that accepts a WebSocket, and leaves it to the test."""

    def __init__(self, *lines: bytes) -> None:
        self._lines = lines
        self._there = threading.Event()
        self._over = threading.Event()
        self.request = b''
        self._link: Link | None = None

    def __call__(self, link: Link) -> None:
        request = link.request()
        assert request is not None
        self.request = request
        frames.accept(link, request, *self._lines)
        self._link = link
        self._there.set()
        self._over.wait(60)

    @property
    def link(self) -> Link:
        assert self._there.wait(20), 'the upstream was not asked'
        assert self._link is not None
        return self._link

    def end(self) -> None:
        """Cut the connection."""
        with contextlib.suppress(OSError):
            self.link.sock.shutdown(socket.SHUT_RDWR)
        self._over.set()


@contextlib.contextmanager
def opened(
    both: Behind, *lines: bytes, target: bytes = b'/v1/realtime', upstream: Upstream
) -> Iterator[Link]:
    """Open a WebSocket through the service."""
    both.does(upstream)
    with connect(both.service.port) as sock:
        link = Link(sock, 0)
        answer = frames.handshake(link, target, BEARER, *lines)
        try:
            assert answer.startswith(b'HTTP/1.1 101'), answer
            yield link
        finally:
            upstream._over.set()


def test_messages_pass_both_ways_as_they_are(sockets: Behind) -> None:
    upstream = Upstream()
    with opened(sockets, upstream=upstream) as client:
        for kind, data in [
            (TEXT, 'caf\xe9 \U0001f600'.encode()),
            (BINARY, bytes(range(256))),
            (TEXT, b''),
            (BINARY, b'x' * 1_000_000),
        ]:
            frames.send(client, kind, data, masked=True)
            assert frames.receive(upstream.link) == (kind, data)
            frames.send(upstream.link, kind, data)
            assert frames.receive(client) == (kind, data)
        # Each side's pings are answered by the one next to it.
        frames.send(upstream.link, PING, b'up')
        assert frames.receive(upstream.link) == (PONG, b'up')
        frames.send(client, PING, b'down', masked=True)
        assert frames.receive(client) == (PONG, b'down')
    # And no session has been made.
    assert (
        sockets.client.get('/v1/stream/x', Authorization=f'Bearer {KEY}').status == 404
    )


def test_the_handshake_passes_as_a_request_does(sockets: Behind) -> None:
    upstream = Upstream(b'Sec-WebSocket-Protocol: two', b'X-Request-Id: 7')
    sockets.does(upstream)
    with connect(sockets.service.port) as sock:
        link = Link(sock, 0)
        answer = frames.handshake(
            link,
            b'/v1/realtime?model=a%2Fb',
            BEARER,
            b'Sec-WebSocket-Protocol: one, two',
            b'OpenAI-Beta: realtime=v1',
            b'session_id: s',
            b'X-Conversation-Id: x',
        )
        assert upstream.link
        upstream._over.set()
    assert frames.field(answer, b'Sec-WebSocket-Protocol') == b'two'
    assert frames.field(answer, b'X-Request-Id') == b'7'
    got = upstream.request
    assert got.startswith(b'GET /v1/realtime?model=a%2Fb HTTP/1.1\r\n')
    assert frames.field(got, b'OpenAI-Beta') == b'realtime=v1'
    assert frames.field(got, b'session_id') == b's'
    assert frames.field(got, b'Authorization') == b'Bearer the-services'
    assert frames.field(got, b'X-Forwarded-For') == b'127.0.0.1'
    assert frames.field(got, b'X-Forwarded-Proto') == b'http'
    assert frames.field(got, b'X-Conversation-Id') is None
    assert KEY.encode() not in got


@pytest.mark.parametrize(
    ('code', 'reason'), [(1000, b'done'), (4001, b'own'), (1001, b'')]
)
def test_f86_how_the_client_closes_the_upstream_is_told(
    sockets: Behind, code: int, reason: bytes
) -> None:
    upstream = Upstream()
    with opened(sockets, upstream=upstream) as client:
        frames.close(client, code, reason, masked=True)
        # The server next to the client does not hand its reason on.
        assert frames.closed(upstream.link)[0] == code


@pytest.mark.parametrize(
    ('code', 'reason'), [(1000, b'done'), (4001, b'own'), (1013, b'')]
)
def test_f86_how_the_upstream_closes_the_client_is_told(
    sockets: Behind, code: int, reason: bytes
) -> None:
    upstream = Upstream()
    with opened(sockets, upstream=upstream) as client:
        frames.send(upstream.link, TEXT, b'last')
        frames.close(upstream.link, code, reason)
        assert frames.receive(client) == (TEXT, b'last')
        assert frames.closed(client) == (code, reason)


def test_f86_an_upstream_that_breaks_off_is_told(sockets: Behind) -> None:
    upstream = Upstream()
    with opened(sockets, upstream=upstream) as client:
        upstream.end()
        assert frames.closed(client)[0] == 1011


def test_f86_a_client_that_breaks_off_is_told(sockets: Behind) -> None:
    upstream = Upstream()
    with opened(sockets, upstream=upstream) as client:
        assert upstream.link
        client.reset()
        # As it was: cut, without a word.
        assert frames.receive(upstream.link) is None


@pytest.mark.parametrize(
    'frame',
    [b'\x83\x01x', b'\xff\xff\xff', b'\x81\x02\xff\xfe', b'\x81\xff' + b'\x7f' * 8],
)
def test_f86_what_is_no_frame_ends_both_sides(sockets: Behind, frame: bytes) -> None:
    upstream = Upstream()
    with opened(sockets, upstream=upstream) as client:
        upstream.link.send(frame)
        code, _ = frames.closed(client)
        assert code in (1009, 1011)


REFUSED = {
    'no key': (b'X-None: 1',),
    'wrong key': (b'Authorization: Bearer wrong',),
    'a page of elsewhere': (BEARER, b'Origin: https://evil.example'),
    'no page at all': (BEARER, b'Origin: null'),
    'nearly ours': (BEARER, b'Origin: http://test.evil.example'),
}


@pytest.mark.parametrize('lines', REFUSED.values(), ids=REFUSED)
def test_f86_who_may_not_is_refused_and_the_upstream_is_not_asked(
    sockets: Behind, lines: tuple[bytes, ...]
) -> None:
    asked: list[Link] = []
    sockets.does(asked.append)
    sockets.log_lines()
    with connect(sockets.service.port) as sock:
        answer = frames.handshake(Link(sock, 0), b'/v1/realtime', *lines)
    # gunicorn lets an application say no more than that.
    assert answer.startswith(b'HTTP/1.1 403')
    assert asked == []
    assert wait_until(lambda: 'a WebSocket is refused' in sockets.service.text(), 20)


@pytest.mark.parametrize('origin', [PAGE.encode(), b'http://test'])
def test_pages_that_may_are_let_in(sockets: Behind, origin: bytes) -> None:
    upstream = Upstream()
    with opened(sockets, b'Origin: ' + origin, upstream=upstream) as client:
        frames.send(client, TEXT, b'x', masked=True)
        assert frames.receive(upstream.link) == (TEXT, b'x')


@pytest.mark.parametrize('answer', [b'404 Not Found', b'200 OK', b'401 Unauthorized'])
def test_f86_an_upstream_that_has_none_is_a_refusal(
    sockets: Behind, answer: bytes
) -> None:
    def script(link: Link) -> None:
        link.request()
        link.reply(b'no', status=answer)

    sockets.does(script)
    with connect(sockets.service.port) as sock:
        said = frames.handshake(Link(sock, 0), b'/v1/realtime', BEARER)
    assert said.startswith(b'HTTP/1.1 403')
    line = f'upstream answered {answer[:3].decode()} to the handshake'
    assert wait_until(lambda: line in sockets.service.text(), 20)


def flood(sender: Link, masked: bool) -> None:
    """Send more than all buffers in between hold."""
    for _ in range(1000):
        frames.send(sender, BINARY, bytes(1 << 18), masked)


def test_f86_a_side_that_takes_nothing_is_cut(tmp_path: Path, watch: Watch) -> None:
    with behind(tmp_path / 'log', settings={'SEND_TIMEOUT': '1'}) as both:
        watch(both.service)
        # The client reads nothing; then the upstream does.
        for quiet in ('client', 'upstream'):
            upstream = Upstream()
            with opened(both, upstream=upstream) as client:
                sender = upstream.link if quiet == 'client' else client
                masked = quiet == 'upstream'
                # Reset, or a broken pipe.
                with pytest.raises(OSError, match=r'.'):
                    flood(sender, masked)


def test_f86_a_worker_that_leaves_says_so(tmp_path: Path, watch: Watch) -> None:
    config = tmp_path / 'gunicorn.conf.py'
    own = (Path(__file__).parents[2] / 'gunicorn.conf.py').read_text()
    # The worker may wait for its connections for longer than this test waits.
    long = own.replace('graceful_timeout = 10', 'graceful_timeout = 3000')
    config.write_text(long.replace('timeout = 30', 'timeout = 3600'))
    upstream, late = Upstream(), Upstream()
    asked, go_on = threading.Event(), threading.Event()

    def slow(link: Link) -> None:
        asked.set()
        go_on.wait(20)
        late(link)

    with behind(tmp_path / 'log', config=config) as both:
        watch(both.service)
        (before,) = both.service.worker_pids()
        with opened(both, upstream=upstream) as client:
            assert upstream.link
            both.does(slow)
            with connect(both.service.port) as sock:
                second = Link(sock, 0)
                frames.ask(second, b'/v1/realtime', BEARER)
                assert asked.wait(20)
                both.service.signal(signal.SIGHUP)
                assert frames.closed(client)[0] == 1012
                assert before in both.service.worker_pids()
                frames.close(client, 1012, masked=True)
                assert frames.closed(upstream.link)[0] == 1012
                # A handshake that was under way ends, and then its WebSocket does.
                go_on.set()
                assert frames.answered(second).startswith(b'HTTP/1.1 101')
                assert frames.closed(second)[0] == 1012
                late.end()
            assert wait_until(lambda: before not in both.service.worker_pids(), 20)


def test_the_demo_model_has_none(serve: Callable[..., Service]) -> None:
    service = serve(workers=1)
    with connect(service.port) as sock:
        answer = frames.handshake(Link(sock, 0), b'/v1/realtime')
    assert answer.startswith(b'HTTP/1.1 403')
