"""F39: nginx in front, buffering and compressing, as Debian has it."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.test_leaving import begin
from tests.http.proxied import Proxied
from tests.support.client import Client, Live, path
from tests.support.leaks import wait_until
from tests.support.nginx import HTTP_1_1, Nginx, needs_nginx
from tests.support.service import ROOT, Service

pytestmark = needs_nginx


class Decoded:
    """An answer as a browser sees it: what nginx has compressed is unpacked."""

    def __init__(self, live: Live) -> None:
        self._live = live
        coded = live.headers.get('content-encoding') == 'gzip'
        self._unpack = zlib.decompressobj(31) if coded else None
        self._chunks = live.chunks()
        self.body = b''

    @property
    def whole(self) -> bool:
        """Whether it came to its end."""
        return bool(self._live.whole) and (self._unpack is None or self._unpack.eof)

    def _more(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self.body += chunk if self._unpack is None else self._unpack.decompress(chunk)
        return True

    def until(self, end: bytes) -> None:
        """Read until the body ends like this."""
        while not self.body.endswith(end):
            assert self._more(), self.body[-100:]

    def rest(self) -> bytes:
        """Read to the end or the cut."""
        while self._more():
            pass
        return self.body


@pytest.fixture(params=['identity', 'gzip'])
def coding(request: pytest.FixtureRequest) -> str:
    """What the client accepts."""
    coding: str = request.param
    return coding


@pytest.fixture
def front(proxied: Proxied, tmp_path: Path) -> Iterator[Client]:
    """A client of an nginx in front of the module's service."""
    with Nginx(tmp_path, proxied.service.port) as nginx:
        yield nginx.client()


def test_f39_every_event_passes_at_once(
    proxied: Proxied, front: Client, coding: str
) -> None:
    """Each event is only made when the one before has arrived: nothing is held back."""
    feed = proxied.feed(first=b'data: first\n\n')
    accept = {'Accept-Encoding': coding}
    with front.post(f'live-{coding}', {'feed': feed.token}, **accept) as post:
        posted = Decoded(post)
        posted.until(b'data: first\n\n')
        target = path(f'live-{coding}', 0)
        with front.open('GET', target, headers=accept) as live:
            read = Decoded(live)
            for number in range(50):
                event = b'data: %d\n\n' % number
                feed.send(event)
                posted.until(event)
                read.until(event)
            feed.end()
            assert posted.rest() == read.rest()
            assert (posted.whole, read.whole) == (True, True)
        for answer in (post, live):
            assert answer.headers.get('content-encoding', 'identity') == coding


def test_f39_headers_arrive_through_nginx(proxied: Proxied, front: Client) -> None:
    with proxied.stream('headers', b'data: x\n\n') as post:
        post.rest()
    for client in (proxied.client, front):
        reply = client.get(path('headers', 2))
        assert (reply.status, reply.body) == (200, b'ta: x\n\n')
        assert reply.headers['content-type'] == 'text/event-stream'
        assert reply.headers['cache-control'] == 'no-store, no-transform'
        assert reply.headers['stream-generation'] == post.headers['stream-generation']
        assert reply.headers['stream-offset'] == '2'
        assert reply.headers['stream-state'] == 'complete'
        assert reply.headers['content-length'] == '7'
    refused = front.get(path('headers', 10**6))
    assert (refused.status, refused.body) == (200, b'')
    assert front.get(path('nobody')).status == 404
    assert front.delete(path('headers')).status == 204
    assert proxied.client.get(path('headers')).status == 404


def test_f39_who_leaves_nginx_leaves_the_service(
    proxied: Proxied, front: Client
) -> None:
    feed = proxied.feed(first=b'data: x\n\n')
    policy = {'Stream-On-Disconnect': 'cancel'}
    with front.post('leaves', {'feed': feed.token}, **policy) as post:
        post.until(5)
    assert feed.hung_up()
    assert wait_until(lambda: proxied.client.lookup('leaves')[0]['is_done'])


def test_f39_a_cut_is_seen_through_nginx_and_resumed_through_it(
    serve: Callable[..., Service], tmp_path: Path, coding: str
) -> None:
    """1. A reader reads. 2. Its worker leaves. 3. It sees a cut, and resumes."""
    service = serve(workers=2, settings={'DEMO_RATE': '50'})
    accept = {'Accept-Encoding': coding}
    with (
        Nginx(tmp_path, service.port) as nginx,
        begin(service.client(), 'chat', 200) as post,
        nginx.client().open('GET', path('chat'), headers=accept) as live,
    ):
        read = Decoded(live)
        read.until(b'\n\n')
        service.signal(signal.SIGHUP)
        body = read.rest()
        assert not read.whole
        # Another worker that leaves may take the next connection as well.
        while not read.whole:
            target = path('chat', len(body))
            with nginx.client().open('GET', target, headers=accept) as live:
                if live.status == 200:
                    read = Decoded(live)
                    body += read.rest()
        assert body == post.rest()


def test_f39_over_http_1_0_a_cut_looks_whole(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    """Why README.md asks for HTTP/1.1: 1.0 has no closing chunk that could be missing.

    What is cut off from nginx ends like what is complete, and so it passes it on.
    """
    for line in filter(None, HTTP_1_1.split('; ')):
        assert line.rstrip(';') in (ROOT / 'README.md').read_text()
    service = serve(workers=2, settings={'DEMO_RATE': '50'})
    with (
        Nginx(tmp_path, service.port, 'proxy_http_version 1.0;') as nginx,
        begin(service.client(), 'chat', 200) as post,
        nginx.client().open('GET', path('chat')) as live,
    ):
        live.until(100)
        service.signal(signal.SIGHUP)
        live.rest()
        assert live.whole
        assert len(live.body) < len(post.rest())
