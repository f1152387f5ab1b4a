"""A pooled connection turns out to be dead: what can be is sent once more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shmstream.upstream.connections import SENT_AGAIN, Upstream
from shmstream.upstream.source import UpstreamUnreachable
from tests.support.raw_upstream import Link, RawUpstream
from tests.upstream.asking import asked, with_upstream

ENDS = ['closes', 'resets']


class Dying:
    """A script: connections answer one request each, and die of the next one.

    Args:
        end: how they die.
        last: what they say before.
        healthy: whether later connections answer.
    """

    def __init__(self, end: str, last: bytes = b'', healthy: bool = True) -> None:
        self._end = end
        self._last = last
        self._healthy = healthy
        self.requests: list[bytes] = []

    def __call__(self, link: Link) -> None:
        for number in range(3):
            request = link.request()
            if request is None:
                return
            self.requests.append(request)
            if number or (link.number and not self._healthy):
                break
            link.reply(b'%d' % len(self.requests))
        if self._last:
            link.send(self._last)
        if self._end == 'resets':
            link.reset()


class Held:
    """A body that is held, as ``http.uploads`` has it."""

    def __init__(self, size: int) -> None:
        self.size = size

    def whole(self) -> bytes:
        return b'x' * self.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.whole()


def twice(script: Dying, method: str, body: Callable[[], object]) -> bytes:
    """Ask twice; returns the second answer."""

    async def work(upstream: Upstream) -> bytes:
        assert await asked(upstream, method, body=body()) == b'1'
        return await asked(upstream, method, body=body())

    with RawUpstream(script) as upstream:
        return with_upstream(upstream.url, work)


BODIES: list[tuple[str, Callable[[], Any]]] = [
    ('GET', lambda: None),
    ('POST', lambda: b'{"stream": true}'),
    ('POST', lambda: None),
    ('PUT', lambda: b'{}'),
    ('DELETE', lambda: None),
    ('POST', lambda: Held(SENT_AGAIN)),
]


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize(('method', 'body'), BODIES)
def test_f84_what_met_a_dead_connection_is_sent_once_more(
    method: str, body: Callable[[], object], end: str
) -> None:
    script = Dying(end)
    assert twice(script, method, body) == b'3'
    first, second, third = script.requests
    close = b'Connection: close\r\n'
    assert close in third
    assert second == first == third.replace(close, b'')


@pytest.mark.parametrize('end', ENDS)
def test_f84_it_is_not_sent_a_third_time(end: str) -> None:
    script = Dying(end, healthy=False)

    async def work(upstream: Upstream) -> None:
        await asked(upstream)
        with pytest.raises(UpstreamUnreachable):
            await asked(upstream)

    with RawUpstream(script) as upstream:
        with_upstream(upstream.url, work)
    assert len(script.requests) == 3


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('last', [b'H', b'HTTP/1.1 200 OK\r\nContent-Le'])
def test_f84_not_once_the_answer_has_begun(end: str, last: bytes) -> None:
    script = Dying(end, last)
    with pytest.raises(UpstreamUnreachable):
        twice(script, 'POST', lambda: b'{}')
    assert len(script.requests) == 2


@pytest.mark.parametrize('method', ['GET', 'POST', 'PUT'])
@pytest.mark.parametrize('end', ENDS)
def test_f84_not_where_the_connection_was_new(method: str, end: str) -> None:
    def script(link: Link) -> None:
        requests.append(link.request())
        if end == 'resets':
            link.reset()

    requests: list[bytes | None] = []

    async def work(upstream: Upstream) -> None:
        with pytest.raises(UpstreamUnreachable):
            await asked(upstream, method)

    with RawUpstream(script) as upstream:
        with_upstream(upstream.url, work)
    assert len(requests) == 1


async def pieces() -> AsyncIterator[bytes]:
    yield b'a'
    yield b'b'


@pytest.mark.parametrize('body', [pieces, lambda: Held(SENT_AGAIN + 1)])
def test_f84_what_cannot_be_sent_again_meets_no_used_connection(
    body: Callable[[], object],
) -> None:
    script = Dying('closes')

    async def work(upstream: Upstream) -> None:
        assert await asked(upstream) == b'1'
        assert await asked(upstream, body=body()) == b'2'

    with RawUpstream(script) as upstream:
        with_upstream(upstream.url, work)
        assert len(upstream.links) == 2
