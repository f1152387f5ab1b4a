"""An answer whose framing breaks: whoever waits for more of it is told in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.http.conftest import Watch
from tests.http.raw import Behind, behind
from tests.support.client import path
from tests.support.patience import Stopwatch
from tests.support.raw_upstream import CHUNKED, Link

END_S = 5.0
"""A second, and what a busy machine takes. It would be for ever."""

EVENT = b'data: 1\n\n'
PAGE = b'<html><h1>502 Bad Gateway</h1></html>'

BROKEN = {
    'no number': b'ZZ\r\n',
    'a page': b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 37\r\n\r\n' + PAGE,
    'bare page': PAGE + b'\r\n',
    'negative': b'-5\r\n',
    'huge': b'f' * 40 + b'\r\n',
    'no end of line': b'5\r\ndata:XX5\r\n',
    'empty lines': b'\r\n\r\n',
    'zero bytes': b'\0\0\0\0\r\n',
    'signs': b'+5\r\n',
}
ENDS = ['closes', 'resets', 'stays']


@pytest.fixture(scope='module')
def broken(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Behind]:
    log = tmp_path_factory.mktemp('broken') / 'service.log'
    with behind(log, workers=2) as both:
        watch_module(both.service)
        yield both


class Breaking:
    """A script that breaks when it is told to."""

    def __init__(self, what: bytes, end: str) -> None:
        self._what = what
        self._end = end
        self._go = threading.Event()

    def go(self) -> None:
        self._go.set()

    def __call__(self, link: Link) -> None:
        link.request()
        link.send(CHUNKED)
        link.chunk(EVENT)
        assert self._go.wait(20)
        link.send(self._what)
        if self._end == 'resets':
            link.reset()
        elif self._end == 'stays':
            link.wait_closed()


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('what', BROKEN.values(), ids=BROKEN)
def test_f80_a_bad_chunk_header_fails_the_stream_within_a_second(
    broken: Behind, what: bytes, end: str
) -> None:
    script = Breaking(what, end)
    broken.does(script)
    with broken.client.post('bad', {}) as post:
        post.until(len(EVENT))
        with broken.client.open('GET', path('bad', 0)) as follower:
            follower.until(len(EVENT))
            with Stopwatch() as watch:
                script.go()
                assert b'upstream broke off' in post.rest()
                assert b'upstream broke off' in follower.rest()
            assert watch.seconds < END_S
    assert broken.client.lookup('bad')[0]['state'] == 'aborted'


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('what', BROKEN.values(), ids=BROKEN)
def test_f80_what_is_passed_through_is_cut_within_a_second(
    broken: Behind, what: bytes, end: str
) -> None:
    script = Breaking(what, end)
    broken.does(script)
    with broken.client.post(None, {}) as post:
        post.until(len(EVENT))
        with Stopwatch() as watch:
            script.go()
            assert post.rest().startswith(EVENT)
        assert post.whole is False
        assert watch.seconds < END_S
