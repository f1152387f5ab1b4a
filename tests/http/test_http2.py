"""HTTP/2, by gunicorn itself and by nginx: an end is an end, and a cut is an error."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.certificate import needs_openssl
from tests.support.client import TIMEOUT_S, path
from tests.support.followed import event
from tests.support.fronts import GUNICORN, HTTP_2, Front, front_fixture
from tests.support.nginx import needs_nginx

pytestmark = [needs_openssl, needs_nginx]

FLOOD = 2 << 20
"""More than the windows of HTTP/2 and the sockets' buffers let through."""


front = front_fixture(HTTP_2)


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    """A client that speaks HTTP/2 only."""
    assert front.certificate is not None
    with httpx.Client(
        http1=False,
        http2=True,
        base_url=front.base(),
        verify=front.certificate.trusting,
        headers={'Accept-Encoding': 'identity'},
        timeout=TIMEOUT_S,
    ) as client:
        yield client
    front.proxied.clear()


class Body:
    """A body as it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self._pieces = response.iter_raw()
        self.data = b''

    def until(self, size: int) -> None:
        """Read until it has so many bytes, at least."""
        while len(self.data) < size:
            self.data += next(self._pieces)

    def rest(self) -> bytes:
        """Read to its end; a cut raises."""
        for piece in self._pieces:
            self.data += piece
        return self.data


def resumed(client: httpx.Client, conv_id: str, have: bytes) -> bytes:
    """Read from where a client is to the end, as often as need be."""
    while True:
        # Another worker that leaves may have the connection.
        with (
            contextlib.suppress(httpx.RemoteProtocolError),
            client.stream('GET', path(conv_id, len(have))) as response,
        ):
            if response.status_code == 200:
                for piece in response.iter_raw():
                    have += piece
                return have


def test_who_is_cut_by_a_leaving_worker_sees_it(
    front: Front, client: httpx.Client
) -> None:
    """1. A reader reads. 2. Its worker leaves. 3. It sees a cut, and resumes."""
    feed = front.proxied.feed(first=event(0))
    with (
        front.proxied.post('leaves', feed),
        client.stream('GET', path('leaves')) as response,
    ):
        body = Body(response)
        body.until(len(event(0)))
        front.proxied.service.signal(signal.SIGHUP)
        with pytest.raises(httpx.RemoteProtocolError):
            body.rest()
        feed.send(event(1))
        feed.end()
        whole = resumed(client, 'leaves', body.data)
    assert whole == event(0) + event(1)


@pytest.mark.parametrize('front', [GUNICORN], indirect=True)
def test_the_reader_of_a_quiet_stream_has_its_head(
    front: Front, client: httpx.Client
) -> None:
    """nginx, with TLS, keeps it until the first byte."""
    feed = front.proxied.feed()
    with (
        front.proxied.post('quiet', feed) as post,
        client.stream('GET', path('quiet')) as response,
    ):
        generation = post.headers['stream-generation']
        assert response.headers['stream-generation'] == generation
        feed.end()
        assert response.read() == b''


@pytest.mark.parametrize('front', [GUNICORN], indirect=True)
def test_who_is_overtaken_by_the_ring_sees_it(
    front: Front, client: httpx.Client
) -> None:
    """Behind nginx nobody is: it takes everything, however slow its client is."""
    feed = front.proxied.feed(first=event(0))
    with front.proxied.post('overtaken', feed) as post:
        post.until(1)
        post.close()
        with client.stream('GET', path('overtaken')) as response:
            body = Body(response)
            body.until(1)
            for number in range(FLOOD >> 12):
                feed.send(event(number, 4096))
            feed.end()
            assert feed.over.wait(TIMEOUT_S)
            with pytest.raises(httpx.RemoteProtocolError):
                body.rest()
    assert 0 < len(body.data) < FLOOD


@pytest.mark.parametrize('read', [None, path], ids=['POST', 'GET'])
def test_an_end_is_clean(
    front: Front, client: httpx.Client, read: Callable[[str], str] | None
) -> None:
    """A live one: the last event is sent when the first has come."""
    name = f'ends-{"GET" if read else "POST"}'
    feed = front.proxied.feed(first=event(0))
    with contextlib.ExitStack() as stack:
        if read:
            stack.enter_context(front.proxied.post(name, feed))
            opened = client.stream('GET', read(name))
        else:
            headers = {'X-Conversation-Id': name}
            asked = {'stream': True, 'feed': feed.token}
            opened = client.stream(
                'POST', '/v1/chat/completions', json=asked, headers=headers
            )
        response = stack.enter_context(opened)
        assert (response.status_code, response.http_version) == (200, 'HTTP/2')
        body = Body(response)
        body.until(len(event(0)))
        feed.send(event(1))
        feed.end()
        assert body.rest() == event(0) + event(1)
