"""The POST's own client is never worse off than without us."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from shmstream.asgi.stalled import Reader
from shmstream.clock import Moment
from shmstream.follower import Follower
from shmstream.memory.new_segment import new_segment
from shmstream.memory.segment import Segment
from shmstream.producing.pace import Pace
from shmstream.ring.ring import RingWriter
from tests.http.proxied import Feed, Proxied
from tests.http.wire import connect, numbered, parse, read_to_end, unchunk
from tests.support.client import path
from tests.support.leaks import wait_until

RING = 65536
FLOOD = 12 << 20
CHUNK = 1 << 16
STEP = 1 << 17


def flood(proxied: Proxied, data: bytes, end: bool = True) -> Feed:
    """An upstream that sends all of it as fast as it is read."""
    feed = proxied.feed(first=data[:CHUNK])
    for at in range(CHUNK, len(data), CHUNK):
        feed.send(data[at : at + CHUNK])
    if end:
        feed.end()
    return feed


def asking(conv_id: str, feed: Feed, stream: bool) -> bytes:
    body = json.dumps({'feed': feed.token, 'stream': stream}).encode()
    return (
        b'POST /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
        b'X-Conversation-Id: %s\r\nContent-Length: %d\r\n\r\n%s'
        % (conv_id.encode(), len(body), body)
    )


def counts(proxied: Proxied, conv_id: str) -> tuple[int, int]:
    """Dropped prefix and total bytes."""
    (found,) = proxied.client.lookup(conv_id)
    return found['dropped_prefix'], found['total_bytes']


def agree(found: tuple[int, int]) -> bool:
    """Whether the ring holds as much as it can of the stream."""
    dropped, total = found
    return dropped == max(total - RING, 0)


@pytest.mark.parametrize('announced', [True, False], ids=['announced', 'unsaid'])
def test_f69_a_client_that_is_slower_than_its_model_gets_all_of_it(
    proxied: Proxied, announced: bool
) -> None:
    """It looks how far the stream is each time before it reads on."""
    conv_id = f'slow-{announced}'
    data = numbered(FLOOD)
    feed = flood(proxied, data)
    got = bytearray()
    with connect(proxied.service.port, receive_buffer=4096) as sock:
        sock.sendall(asking(conv_id, feed, announced))
        got += sock.recv(1024)
        while len(got) < FLOOD // 4:
            # The producer raises the dropped prefix before the total, so the two agree
            # once it waits for the client.
            assert wait_until(lambda: agree(counts(proxied, conv_id)))
            assert counts(proxied, conv_id)[1] < FLOOD, 'nobody waited for the client'
            want = len(got) + STEP
            while len(got) < want:
                piece = sock.recv(STEP)
                assert piece, 'cut'
                got += piece
        got += read_to_end(sock)
    body, whole = unchunk(parse(bytes(got)).body)
    assert whole
    assert body == data


def test_f69_other_readers_are_waited_for_by_nobody(proxied: Proxied) -> None:
    """The POST's own reads, another does not: that one is overtaken."""
    data = numbered(2 * FLOOD)
    feed = flood(proxied, data[:CHUNK], end=False)
    with proxied.post('others', feed) as post:
        assert post.until(CHUNK) == data[:CHUNK]
        with connect(proxied.service.port, receive_buffer=4096) as other:
            other.sendall(f'GET {path("others")} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
            head = other.recv(1024)
            for at in range(CHUNK, len(data), CHUNK):
                feed.send(data[at : at + CHUNK])
            feed.end()
            assert post.rest() == data
            assert post.whole
            got, whole = unchunk(parse(head + read_to_end(other)).body)
    assert not whole
    assert data.startswith(got)


def test_f69_once_it_has_left_nobody_is_waited_for(proxied: Proxied) -> None:
    data = numbered(FLOOD)
    feed = flood(proxied, data)
    with connect(proxied.service.port, receive_buffer=4096) as sock:
        sock.sendall(asking('left', feed, True))
        assert sock.recv(12) == b'HTTP/1.1 200'
        # It stands still, as far as the sockets in between have taken.
        assert counts(proxied, 'left')[1] < FLOOD
    assert wait_until(lambda: counts(proxied, 'left')[1] == FLOOD)
    assert feed.over.wait(10)


@pytest.mark.parametrize('how', ['delete', 'replace'])
def test_f69_what_is_held_up_by_its_client_is_stopped_at_once(
    proxied: Proxied, how: str
) -> None:
    data = numbered(FLOOD)
    feed = flood(proxied, data)
    with connect(proxied.service.port, receive_buffer=4096) as sock:
        sock.sendall(asking('held', feed, True))
        assert sock.recv(12) == b'HTTP/1.1 200'
        if how == 'delete':
            assert proxied.client.delete(path('held')).status == 204
        else:
            with proxied.stream('held', b'data: new\n\n') as post:
                assert post.rest() == b'data: new\n\n'
        assert feed.over.wait(8)


# -- by itself -------------------------------------------------------------------------


class Client:
    """A response that takes what it is told to."""

    def __init__(self) -> None:
        self.offset = 0
        self.acked = 0

    def mark(self) -> object:
        return self.acked


@pytest.fixture
def ring(tmp_path: Path) -> tuple[Segment, RingWriter]:
    segment, lock = new_segment(
        tmp_path / 'segment',
        capacity=4096,
        generation=1,
        created=Moment(1, 1, 1),
        producer_epoch=0,
        owner=bytes(32),
        conv_id=b'c',
    )
    os.close(lock)
    return segment, RingWriter(segment.view)


def listening(patience_s: float = 30.0) -> tuple[Pace, Client]:
    own, client = Pace(patience_s), Client()
    own.reads(cast('Follower', client), cast('Reader', client))
    return own, client


async def waits(waiting: Awaitable[None], turns: int = 20) -> asyncio.Task[None]:
    """Begin to wait; it must not be over soon."""
    task: asyncio.Task[None] = asyncio.ensure_future(cast('Any', waiting))
    for _ in range(turns):
        await asyncio.sleep(0)
    assert not task.done()
    return task


Ring = tuple[Segment, RingWriter]


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine function."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        asyncio.run(test(*args, **options))

    return run


@on_a_loop
async def test_where_there_is_room_nobody_waits(ring: Ring) -> None:
    segment, writer = ring
    own, _ = listening()
    await own.room(segment.reader, 4096)
    writer.append(bytes(3000))
    await own.room(segment.reader, 1096)


@on_a_loop
async def test_it_waits_until_the_client_has_taken_what_is_overwritten(
    ring: Ring,
) -> None:
    segment, writer = ring
    own, client = listening()
    writer.append(bytes(4000))
    task = await waits(own.room(segment.reader, 1000))
    client.offset = 903
    own.took()
    task = await waits(task)
    client.offset = 904
    own.took()
    await asyncio.wait_for(task, 10)
    # What is larger than the ring overtakes everybody, but nobody before his turn.
    task = await waits(own.room(segment.reader, 100_000))
    client.offset = 4000
    own.took()
    await asyncio.wait_for(task, 10)


@pytest.mark.parametrize('reads', [True, False])
@on_a_loop
async def test_who_leaves_is_not_waited_for(ring: Ring, reads: bool) -> None:
    segment, writer = ring
    own = listening()[0] if reads else Pace()
    writer.append(bytes(4000))
    task = await waits(own.room(segment.reader, 1000))
    own.left()
    await asyncio.wait_for(task, 10)
    writer.append(bytes(4000))
    await own.room(segment.reader, 4000)


@pytest.mark.parametrize('reads', [True, False])
@on_a_loop
async def test_who_takes_nothing_is_waited_for_so_long_and_no_longer(
    ring: Ring, reads: bool
) -> None:
    segment, writer = ring
    own = listening(0.4)[0] if reads else Pace(0.4)
    writer.append(bytes(4000))
    await asyncio.wait_for(own.room(segment.reader, 1000), 30)
    # And never again.
    writer.append(bytes(4000))
    await own.room(segment.reader, 4000)


@on_a_loop
async def test_who_takes_little_is_waited_for(ring: Ring) -> None:
    """Less than would be sent next: but what its kernel acknowledges grows."""
    segment, writer = ring
    own, client = listening(0.4)
    writer.append(bytes(4000))
    looks = 0

    def mark() -> object:
        # Something new at each look, and ten times as many as its patience has.
        nonlocal looks
        looks += 1
        if looks > 20:
            client.offset = 4000
        return looks

    client.mark = mark  # type: ignore[method-assign]
    await asyncio.wait_for(own.room(segment.reader, 1000), 60)
    assert client.offset == 4000
