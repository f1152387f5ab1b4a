"""Request bodies: held until the upstream has them, and bounded in sum."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import json
import select
import socket
import termios
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shmstream.asgi.body_pace import LEAST_RATE, Pace
from tests.http.proxied import Feed, Proxied
from tests.http.wire import ask, assert_error, chunked, connect, numbered
from tests.support.client import path
from tests.support.leaks import wait_until

WAIT_S = 60.0
UPLOAD = 16 << 20
COUNT = 6
SLACK = 2 * UPLOAD
"""What a worker may have grown by otherwise; held, the uploads are three times that."""


def anonymous(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    for line in Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('RssAnon:'):
            return int(line.split()[1]) * 1024
    raise AssertionError('no RssAnon')


def workers(proxied: Proxied) -> int:
    """What all workers have together: which one accepts a connection is chance."""
    return sum(map(anonymous, proxied.service.worker_pids()))


def begin(proxied: Proxied, conv_id: str, feed: Feed, size: int) -> socket.socket:
    """Send a POST with a body of about this size."""
    body = json.dumps({'feed': feed.token, 'text': 'x' * size}).encode()
    sock = connect(proxied.service.port)
    sock.sendall(
        b'POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: %s\r\n'
        b'Content-Length: %d\r\n\r\n' % (conv_id.encode(), len(body))
    )
    sock.sendall(body)
    return sock


@pytest.mark.parametrize('pending', [True, False], ids=['thinking', 'answering'])
def test_what_the_upstream_has_is_not_held(
    proxy: Callable[..., Proxied], pending: bool
) -> None:
    # There is room for one only: while others are held it would be refused.
    proxied = proxy(workers=1, MAX_UPLOADS='24MiB')
    before = workers(proxied)
    with contextlib.ExitStack() as stack:
        feeds = []
        for number in range(COUNT):
            feed = proxied.feed(pending=pending, first=numbered(32))
            feeds.append(feed)
            sock = begin(proxied, f'upload-{number}', feed, UPLOAD)
            stack.enter_context(sock)
            assert feed.exchange.header('Content-Length') is not None
            assert len(feed.exchange.body) > UPLOAD
            if not pending:
                assert sock.recv(12) == b'HTTP/1.1 200'
        assert wait_until(lambda: workers(proxied) - before < SLACK, WAIT_S), (
            f'{(workers(proxied) - before) >> 20} MiB more than before'
        )
        for feed in feeds:
            feed.begin()
            feed.end()
        for number in range(COUNT):
            done = functools.partial(_done, proxied, f'upload-{number}')
            assert wait_until(done, WAIT_S)


def _done(proxied: Proxied, conv_id: str) -> bool:
    return proxied.client.get(path(conv_id)).body == numbered(32)


def lookup(proxied: Proxied, size: int, key: str = '') -> int:
    """The status of a look-up whose body has about this size, by this key."""
    body = json.dumps({'conversation_ids': ['x'], 'text': 'x' * size}).encode()
    return ask(
        proxied.service.port,
        'POST /v1/streams/lookup',
        ('Content-Length', str(len(body))),
        ('Authorization', f'Bearer {key}'),
        body=body,
    ).status


@pytest.fixture
def small(proxy: Callable[..., Proxied]) -> Proxied:
    """A service of one worker that holds a megabyte."""
    return proxy(workers=1, MAX_UPLOADS='1MiB')


def taken(sock: socket.socket) -> bool:
    """Whether the service has read all that was sent to it."""
    if fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) != bytes(4):
        return False
    ours, theirs = (f':{s[1]:04X}' for s in (sock.getsockname(), sock.getpeername()))
    for line in Path('/proc/net/tcp').read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if local.endswith(theirs) and remote.endswith(ours):
            return queues.endswith(':00000000')
    return False


HALF = 700_000


@pytest.mark.parametrize('announced', [True, False], ids=['announced', 'in chunks'])
@pytest.mark.parametrize('leaves', [True, False], ids=['leaves', 'goes on'])
def test_uploads_are_bounded_in_sum(
    small: Proxied, announced: bool, leaves: bool
) -> None:
    feed = small.feed(first=numbered(32))
    feed.end()
    body = json.dumps({'feed': feed.token, 'text': 'x' * HALF}).encode()
    assert lookup(small, HALF) == 200
    with connect(small.service.port) as sock:
        framing, whole = b'Content-Length: %d' % len(body), body
        if not announced:
            framing, whole = b'Transfer-Encoding: chunked', chunked(body, 10)
        first = len(whole) - 100
        sock.sendall(
            b'POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: first\r\n'
            + framing
            + b'\r\n\r\n'
        )
        sock.sendall(whole[:first])
        # Asked before that, a look-up could be what the upload has no room beside.
        assert wait_until(lambda: taken(sock), WAIT_S)
        assert lookup(small, HALF) == 503
        # What fits is served all the while.
        assert lookup(small, 1000) == 200
        if not leaves:
            sock.sendall(whole[first:])
            assert sock.recv(12) == b'HTTP/1.1 200'
            assert feed.exchange.body == body
            assert feed.exchange.header('Content-Length') == str(len(body))
            assert lookup(small, HALF) == 200
    assert wait_until(lambda: lookup(small, HALF) == 200, WAIT_S)


def announcing(size: int, key: str = '') -> bytes:
    return (
        b'POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: first\r\n'
        b'Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n' % (key.encode(), size)
    )


def test_who_only_announces_keeps_nobody_out(small: Proxied) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(connect(small.service.port))
            sock.sendall(announcing(1 << 20) + b'{')
            assert wait_until(functools.partial(taken, sock), WAIT_S)
        assert lookup(small, HALF) == 200


def test_what_does_not_fit_any_more_is_refused_in_the_middle(small: Proxied) -> None:
    with connect(small.service.port) as first, connect(small.service.port) as second:
        for sock in (first, second):
            sock.sendall(announcing(HALF) + b'x' * 1000)
            assert wait_until(functools.partial(taken, sock), WAIT_S)
        first.sendall(b'x' * (HALF - 1001))
        assert wait_until(lambda: taken(first), WAIT_S)
        with contextlib.suppress(ConnectionError):
            second.sendall(b'x' * (HALF - 1001))
        assert second.recv(12) == b'HTTP/1.1 503'
        assert lookup(small, 1000) == 200


def test_a_refusal_says_when_to_come_back(small: Proxied) -> None:
    feed = small.feed(first=numbered(32))
    text = 'x' * HALF
    with connect(small.service.port) as sock:
        sock.sendall(announcing(HALF + 1) + text.encode())
        assert wait_until(lambda: taken(sock), WAIT_S)
        assert lookup(small, HALF) == 503
        refused = small.client.post('second', {'feed': feed.token, 'text': text})
        with refused:
            assert refused.headers['retry-after'] == '5'
            assert_error(refused, 503, 'Too many request bodies')
    assert small.client.lookup('second') == []
    assert not feed.asked


def test_what_can_never_be_held_is_no_question_of_time(small: Proxied) -> None:
    body = ('Content-Length', str(2 << 20))
    raw = ask(
        small.service.port, 'POST /v1/x', ('X-Conversation-Id', 'big'), body, body=b'{'
    )
    assert raw.status == 413


FIRST, SECOND = 'key-one-0123456789', 'key-two-9876543210'
THIRD = 350_000
"""Bytes: one such body fits into half of what is held, and two do not."""


def test_f44_bodies_of_one_key_do_not_keep_another_s_out(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(workers=1, MAX_UPLOADS='1MiB', API_KEYS=f'{FIRST},{SECOND}')
    with connect(proxied.service.port) as sock:
        sock.sendall(announcing(THIRD + 1, FIRST) + b'x' * THIRD)
        assert wait_until(lambda: taken(sock), WAIT_S)
        assert lookup(proxied, THIRD, FIRST) == 503
        assert lookup(proxied, THIRD, SECOND) == 200
        # More than will ever be there for one of them is no question of time.
        assert lookup(proxied, HALF, SECOND) == 413
    free = functools.partial(lookup, proxied, THIRD, FIRST)
    assert wait_until(lambda: free() == 200, WAIT_S)


def test_f44_the_share_is_the_owners_setting(proxy: Callable[..., Proxied]) -> None:
    keys = f'{FIRST},{SECOND}'
    proxied = proxy(workers=1, MAX_UPLOADS='1MiB', API_KEYS=keys, OWNER_SHARE='0.25')
    assert lookup(proxied, THIRD, FIRST) == 413


def test_f44_bodies_of_the_only_key_may_use_everything(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(workers=1, MAX_UPLOADS='1MiB', API_KEYS=FIRST)
    assert lookup(proxied, HALF, FIRST) == 200


@pytest.mark.parametrize('announced', [True, False], ids=['announced', 'in chunks'])
def test_f44_a_body_that_comes_slowly_gives_its_room_back(
    proxy: Callable[..., Proxied], announced: bool
) -> None:
    proxied = proxy(workers=1, MAX_UPLOADS='1MiB', SEND_TIMEOUT='1')
    head, sip = announcing(1_000_000), b'x'
    if not announced:
        head = head.replace(b'Content-Length: 1000000', b'Transfer-Encoding: chunked')
        sip = b'1\r\nx\r\n'
    with connect(proxied.service.port) as sock:
        sock.sendall(head + sip * 1000)
        until = time.monotonic() + WAIT_S
        while not select.select([sock], [], [], 0.05)[0]:
            assert time.monotonic() < until, 'it may hold its room for ever'
            sock.sendall(sip)
        assert sock.recv(12) == b'HTTP/1.1 408'
        # It may go on for as long as it likes: nobody keeps what comes.
        assert lookup(proxied, 1_000_000) == 200


def test_time_is_over_even_if_the_cancellation_is_lost() -> None:
    lost: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        # As gunicorn's under Python 3.11: see ``Pace.came``.
        while len(lost) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost.append(1)
                yield b'x'

    async def read() -> None:
        async with Pace(0.01) as pace:
            async for piece in body():
                pace.came(len(piece))

    with pytest.raises(TimeoutError):
        asyncio.run(read())
    assert lost == [1]


def looks(pace: Pace) -> int:
    """How many looks are left if nothing comes any more."""
    count = 1
    while pace.look():
        count += 1
    return count


def test_f44_a_body_has_the_time_that_its_bytes_give_it() -> None:
    # A look each five seconds.
    assert looks(Pace(60)) == 12
    # What comes before that is needed gives no time.
    pace = Pace(60)
    pace.came(1 << 30)
    assert looks(pace) == 12
    # Who keeps to the rate goes on for ever, however long ago it began.
    pace = Pace(60)
    for _ in range(1000):
        assert pace.look()
        pace.came(5 * LEAST_RATE)
    assert looks(pace) == 12
    # Half of it lasts twice as long.
    pace = Pace(60)
    count = 1
    while pace.look():
        pace.came(5 * LEAST_RATE // 2)
        count += 1
    assert count == 23
