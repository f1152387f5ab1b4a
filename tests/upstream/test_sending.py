"""What is sent to the upstream, and for how long its answer is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shmstream.upstream.connections import Upstream
from shmstream.upstream.source import TargetRefused, UpstreamRequest, UpstreamTimeout
from tests.support.raw_upstream import Link, RawUpstream
from tests.upstream.asking import asked, with_upstream

PIECES = 12
PIECE_S = 0.2
FIRST_BYTE_S = '1.5'


def steady(pieces: int) -> AsyncIterator[bytes]:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            await asyncio.sleep(PIECE_S)
            yield b'x' * 1000

    return body()


async def sent(upstream: Upstream, pieces: int) -> bytes:
    length = ('content-length', str(pieces * 1000))
    return await asked(upstream, body=steady(pieces), headers=[length])


def whole(link: Link) -> None:
    request = link.request()
    assert request is not None
    link.reply(b'got it')


def test_a_steady_upload_has_the_time_that_it_takes() -> None:
    async def work(upstream: Upstream) -> None:
        assert await sent(upstream, PIECES) == b'got it'

    with RawUpstream(whole) as raw:
        with_upstream(raw.url, work, UPSTREAM_FIRST_BYTE_TIMEOUT=FIRST_BYTE_S)


def test_after_an_upload_an_answer_is_waited_for_no_longer() -> None:
    def quiet(link: Link) -> None:
        assert link.request() is not None
        assert link.request() is None

    async def work(upstream: Upstream) -> None:
        with pytest.raises(UpstreamTimeout):
            await sent(upstream, 2)

    with RawUpstream(quiet) as raw:
        with_upstream(raw.url, work, UPSTREAM_FIRST_BYTE_TIMEOUT='1')


CLIMBING = [
    '/../team-b/x',
    '/..',
    '/x/../..',
    '/%2e%2e/team-b',
    '/.%2E/team-b?a=1',
    '/..%2fteam-b',
    '/a%2fb/../../team-b',
    '/a//../../team-b',
    '/a%2fb/..%5c..',
    '/..%5cteam-b',
    '/..;x/team-b',
]
WITHIN = [
    '/x/../y',
    '/./x',
    '/...',
    '/x?a=/../..',
    '/%252e%252e/x',
    '/..x',
    '/a/b/../..',
]


@pytest.mark.parametrize('kind', ['request', 'WebSocket'])
def test_no_request_climbs_above_the_base_path(kind: str) -> None:
    seen: list[bytes] = []

    def script(link: Link) -> None:
        while (request := link.request()) is not None:
            seen.append(request.split(b' ', 2)[1])
            link.reply(b'')

    async def work(upstream: Upstream) -> None:
        for target in CLIMBING:
            with pytest.raises(TargetRefused, match='above'):
                await open_(upstream, target)
        for target in WITHIN:
            await asked(upstream, 'GET', target, None)

    async def open_(upstream: Upstream, target: str) -> None:
        if kind == 'request':
            await asked(upstream, 'GET', target, None)
        else:
            request = UpstreamRequest('GET', target, [], None)
            await upstream.web_socket(request, [], 1 << 20)

    with RawUpstream(script) as raw:
        with_upstream(raw.url + '/team-a', work, UPSTREAM_API_KEY='SECRET')
    assert [target.decode() for target in seen] == ['/team-a' + t for t in WITHIN]


def test_what_a_url_would_not_keep_is_no_part_of_a_target() -> None:
    async def work(upstream: Upstream) -> None:
        for target in ('/a#b', '/a?b#c', '/.\t./team-b', '/.\r./x', '/x?\n'):
            with pytest.raises(TargetRefused, match='#'):
                await asked(upstream, 'GET', target, None)

    with_upstream('http://127.0.0.1:9', work)
