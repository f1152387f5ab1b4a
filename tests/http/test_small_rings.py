"""Events that are larger than the ring they go through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import numbered
from tests.support.client import path


@pytest.fixture(scope='module', params=[4096, 32768, 65536])
def ring(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


PIECE = 60_000
"""As much as waits for a client that does not read, whatever the sockets hold."""


@pytest.mark.parametrize('pieces', [1, 16])
def test_the_posts_own_client_gets_all_of_it(
    proxy: Callable[..., Proxied], ring: int, pieces: int
) -> None:
    proxied = proxy(SESSION_BYTES=str(ring))
    event = b'data: ' + b'0123456789' * ((PIECE - 8) // 10) + b'xy\n\n'
    assert len(event) == PIECE
    data = event * pieces
    for number in range(3):
        conv_id = f'event-{number}'
        feed = proxied.feed(first=data[:PIECE])
        with proxied.post(conv_id, feed) as post:
            for end in range(2 * PIECE, len(data) + 1, PIECE):
                assert post.until(end - PIECE) == data[: end - PIECE]
                feed.send(data[end - PIECE : end])
            feed.end()
            assert post.rest() == data
            assert post.whole
        (found,) = proxied.client.lookup(conv_id)
        dropped = max(len(data) - ring, 0)
        assert found['dropped_prefix'] == dropped
        tail = proxied.client.get(path(conv_id, dropped)).body
        assert tail == data[-ring:]


def test_many_events_at_once_are_as_one(
    proxy: Callable[..., Proxied], ring: int
) -> None:
    # Each is small; those that are there already come without a turn of the loop.
    proxied = proxy(SESSION_BYTES=str(ring))
    data = numbered(PIECE)
    for number in range(3):
        feed = proxied.feed(pending=True)
        feed.begin()
        feed.send(data)
        feed.end()
        with proxied.post(f'many-{number}', feed) as post:
            assert post.rest() == data
            assert post.whole
