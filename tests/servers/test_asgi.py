"""Whatever the ASGI specification allows works on other servers than gunicorn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from shmstream import Producer, Streams
from tests.servers.asgi import COMMANDS, AsgiServer
from tests.support.client import Live, path
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.overtaken import cut_by_the_ring

Start = Callable[..., AsgiServer]

QUIETLY_CUT = ('uvicorn',)
"""The others log an error for a response that is cut: it takes one to cut it."""


@pytest.fixture(params=matrix(COMMANDS, 'uvicorn'))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start each server with two workers, and with settings."""
    with ExitStack() as stack:

        def start(**settings: str) -> AsgiServer:
            server = AsgiServer(request.param, tmp_path / 'log', settings)
            return stack.enter_context(server)

        yield start


@contextmanager
def stream(server: AsgiServer, conv_id: str) -> Iterator[Producer]:
    """A stream that this process writes."""
    with (
        Streams.attach(server.directory) as streams,
        streams.create(conv_id) as producer,
    ):
        yield producer


def follow_elsewhere(server: AsgiServer, conv_id: str, worker: int) -> Live:
    """Follow it from another worker than this one."""
    deadline = time.monotonic() + 20
    while True:
        live = server.client().open('GET', path(conv_id, 0))
        if live.worker != worker:
            return live
        live.close()
        assert time.monotonic() < deadline


def test_f58_an_answer_is_followed_from_another_worker_and_resumed(
    start: Start,
) -> None:
    server = start(DEMO_RATE='200')
    client = server.client()
    with client.post('a', {'max_tokens': 100}) as post:
        post.until(1)
        with follow_elsewhere(server, 'a', post.worker) as live:
            whole = post.rest()
            assert post.whole
            assert live.rest() == whole
            assert live.whole
    assert whole.endswith(b'data: [DONE]\n\n')
    for offset in (0, 1, 777, len(whole)):
        reply = client.get(path('a', offset))
        assert reply.whole
        assert reply.body == whole[offset:]
    assert client.delete(path('a')).status == 204
    assert client.get(path('a')).status == 404


def test_f58_what_is_written_arrives_at_once_and_ends_with_a_stop(start: Start) -> None:
    server = start()
    with (
        stream(server, 'a') as producer,
        server.client().open('GET', path('a', 0)) as live,
    ):
        whole = b''
        for number in range(100):
            event = b'data: %d\n\n' % number
            assert producer.write(event)
            whole += event
            # Nothing more comes before this has been seen.
            assert live.until(len(whole)) == whole
        assert server.client().delete(path('a')).status == 204
        producer.cancel()
        assert live.rest() == whole
        assert live.whole


def test_f58_a_large_answer_is_whole(start: Start) -> None:
    """Several times as much as sockets hold, live and once it has ended."""
    server = start(SESSION_BYTES='16MiB')
    piece = bytes(range(256)) * 256
    with (
        stream(server, 'a') as producer,
        server.client().open('GET', path('a', 0)) as live,
    ):
        for _ in range(128):
            assert producer.write(piece)
        producer.finish()
        assert live.rest() == piece * 128
        assert live.whole
        assert server.client().get(path('a', 12345)).body == (piece * 128)[12345:]


def test_f58_a_reader_that_is_overtaken_is_cut(start: Start) -> None:
    server = start(SESSION_BYTES='65536')
    with (
        stream(server, 'a') as producer,
        server.client().open('GET', path('a', 0)) as live,
    ):
        producer.write(b'data: 1\n\n')
        live.until(1)
        assert cut_by_the_ring(live, producer)
        assert wait_until(lambda: not producer.followers)
    if server.name in QUIETLY_CUT:
        assert 'Traceback' not in server.text()


def test_f58_a_reader_that_leaves_a_quiet_stream_counts_no_more(start: Start) -> None:
    """Whatever it announces of a body that nobody reads."""
    server = start()
    bodies: list[bytes | None] = [None, b'', b'x', bytes(1 << 20)]
    with stream(server, 'a') as producer:
        producer.write(b'data: 1\n\n')
        for body in bodies:
            with server.client().open('GET', path('a', 0), body) as live:
                live.until(1)
                assert wait_until(lambda: producer.followers == 1)
            assert wait_until(lambda: not producer.followers)
    assert 'Traceback' not in server.text()


def test_f58_it_ends_while_a_quiet_stream_is_followed(start: Start) -> None:
    """SIGTERM: the reader is cut, to resume elsewhere, and the server ends."""
    server = start()
    with stream(server, 'a') as producer, ExitStack() as stack:
        producer.write(b'data: 1\n\n')
        readers = [
            stack.enter_context(server.client().open('GET', path('a', 0)))
            for _ in range(4)
        ]
        for live in readers:
            live.until(1)
        server.terminate()
        for live in readers:
            live.rest()
            assert live.whole is False
        server.wait()
    if server.name in QUIETLY_CUT:
        assert 'Traceback' not in server.text()


def test_f58_it_ends_while_an_answer_is_generated(start: Start) -> None:
    """SIGTERM: the answer ends in-band, for its own client as for others.

    hypercorn kills its workers as soon as one of them has ended.
    """
    server = start(DEMO_RATE='20', DRAIN='0')
    with server.client().post('a', {'max_tokens': 100_000}) as post:
        post.until(1)
        server.terminate()
        whole = post.rest()
        server.wait()
    if server.name == 'hypercorn' and not post.whole:
        return
    assert post.whole
    assert b'"error"' in whole.split(b'\n\n')[-2]
    assert 'Traceback' not in server.text()
