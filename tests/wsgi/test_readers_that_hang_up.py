"""Readers that leave, or do not read, give the thread back that serves them."""

from __future__ import annotations

import itertools
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmstream import Producer, Streams, wsgi
from shmstream.deploy.worker_life import WorkerLife
from shmstream.process import host
from tests.servers.test_wsgi import APP, CONFIG
from tests.support.client import TIMEOUT_S
from tests.support.leaks import wait_until
from tests.support.service import Service

THREADS = 4
ONE_WORKER = ('-k', 'gthread', '--threads', str(THREADS), '--graceful-timeout', '60')


@pytest.fixture
def start(serve: Callable[..., Service]) -> Callable[..., Service]:
    """Start one worker of four threads."""

    def start(**settings: str) -> Service:
        return serve(
            workers=1,
            config=CONFIG,
            arguments=(*ONE_WORKER, APP),
            ready='Booting worker',
            # Readers may have all threads: what is tested is that they give them back.
            settings={'READER_SHARE': '1', **settings},
        )

    return start


@contextmanager
def stream(service: Service, data: bytes) -> Iterator[Producer]:
    """A stream of another process, in which these bytes are."""
    with (
        Streams.attach(service.directory) as streams,
        streams.create('a') as producer,
    ):
        assert producer.write(data)
        yield producer


def ask(service: Service, receive_buffer: int | None = None) -> socket.socket:
    """Ask for the stream on a bare socket."""
    sock = socket.socket()
    sock.settimeout(TIMEOUT_S)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(('127.0.0.1', service.port))
    sock.sendall(b'GET /chats/a HTTP/1.1\r\nHost: a\r\n\r\n')
    return sock


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def shut_down(sock: socket.socket) -> None:
    # What nobody can tell from a client that has gone.
    sock.shutdown(socket.SHUT_WR)
    rest = b''
    while data := sock.recv(65536):
        rest += data
    assert not rest.endswith(b'0\r\n\r\n')
    sock.close()


@pytest.mark.parametrize('hang_up', [close, reset, shut_down])
def test_f57_readers_that_hang_up_on_a_quiet_stream_hold_no_thread(
    start: Callable[..., Service], hang_up: Callable[[socket.socket], None]
) -> None:
    """Four readers hang up, nothing is written, and a fifth request is answered."""
    service = start()
    with stream(service, b'data: 1\n\n') as producer:
        readers = [ask(service) for _ in range(THREADS)]
        for sock in readers:
            received = b''
            while b'data: 1' not in received:
                received += sock.recv(65536)
        assert wait_until(lambda: producer.followers == THREADS)
        for sock in readers:
            hang_up(sock)
        assert service.client().get('/chats/other').status == 404
        assert wait_until(lambda: not producer.followers)


def test_f57_readers_that_do_not_read_hold_no_thread_for_ever(
    start: Callable[..., Service],
) -> None:
    service = start(SEND_TIMEOUT='1')
    with stream(service, bytes(4 << 20)) as producer, ExitStack() as stack:
        for _ in range(THREADS):
            stack.enter_context(ask(service, receive_buffer=4096))
        assert service.client().get('/chats/other').status == 404
        assert wait_until(lambda: not producer.followers)


@contextmanager
def sipping(readers: list[socket.socket]) -> Iterator[None]:
    """These take a little, again and again, and would for minutes."""
    stop = threading.Event()

    def sip() -> None:
        while not stop.wait(0.05):
            for sock in select.select(readers, [], [], 0)[0]:
                with suppress(ConnectionError):
                    sock.recv(4096)

    thread = threading.Thread(target=sip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def filled_and_asked_for(
    service: Service, streams: Streams, stack: ExitStack
) -> list[socket.socket]:
    """Make a stream of 12 MiB, and readers for all threads; keeps none of it mapped."""
    with streams.create('a') as producer:
        for _ in range(192):
            producer.write(bytes(65536))
        readers = [
            stack.enter_context(ask(service, receive_buffer=4096))
            for _ in range(THREADS)
        ]
        assert wait_until(lambda: producer.followers == THREADS)
    return readers


def test_f57_readers_that_sip_at_what_is_gone_hold_no_thread_and_no_memory(
    start: Callable[..., Service],
) -> None:
    service = start(SEND_TIMEOUT='1', SESSION_BYTES='16MiB')
    with (
        ExitStack() as stack,
        Streams.attach(service.directory) as streams,
    ):
        readers = filled_and_asked_for(service, streams, stack)
        stack.enter_context(sipping(readers))
        streams.evict('a')
        assert service.client().get('/chats/other').status == 404
        assert wait_until(lambda: not streams.status()['memory'])


@pytest.mark.parametrize('gone', [False, True], ids=['there', 'gone'])
def test_f57_a_stream_that_is_gone_is_read_for_a_while_and_no_longer(
    streams: Streams, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    parts = 128
    # Suspended before each look, for longer than any timeout.
    clock = itertools.count(0.0, 1000.0)
    ours, theirs = socket.socketpair()
    with ours, theirs, streams.create('a', capacity=4 << 20) as producer:
        for _ in range(parts):
            producer.write(bytes(16384))
        producer.finish()
        monkeypatch.setattr(
            wsgi.response_body, 'time', SimpleNamespace(monotonic=clock.__next__)
        )
        body = wsgi.Body({'gunicorn.socket': ours}, streams.open('a'), timeout_s=4.0)
        taken = len(next(body))
        if gone:
            streams.evict('a')
        with pytest.raises(ConnectionResetError) if gone else nullcontext():
            for part in body:
                taken += len(part)
        body.close()
    # Twenty looks, one for each part.
    assert taken == 16384 * (20 if gone else parts)


def test_f57_a_worker_leaves_readers_that_do_not_read(
    start: Callable[..., Service],
) -> None:
    service = start()
    with stream(service, bytes(4 << 20)) as producer, ask(service, 4096):
        assert wait_until(lambda: producer.followers == 1)
        (before,) = service.worker_pids()
        service.signal(signal.SIGHUP)
        assert wait_until(lambda: before not in service.worker_pids(), 30)


class _Worker:
    """As gunicorn's, as far as it matters."""

    alive = True
    ppid = 0
    cfg = None
    beats = 0

    def notify(self) -> None:
        self.beats += 1


@pytest.mark.parametrize('threads', [False, True])
def test_f57_a_worker_of_one_thread_heart_beats_while_it_follows(
    streams: Streams, monkeypatch: pytest.MonkeyPatch, threads: bool
) -> None:
    worker, life = _Worker(), WorkerLife()
    life.worker = worker
    monkeypatch.setattr(host, '_host', life)
    environ: dict[str, Any] = {'wsgi.multithread': threads}
    with streams.create('a') as producer:
        producer.write(b'1')
        body = wsgi.Body(environ, streams.open('a'))
        assert next(body) == b'1'
        body.close()
    assert bool(worker.beats) is not threads


def test_f57_a_client_of_a_server_that_shows_no_socket_never_leaves() -> None:
    assert not wsgi.client_left({})


def test_f57_through_a_unix_socket_a_client_is_seen_to_leave(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environ = {'gunicorn.socket': ours}
        assert not wsgi.client_left(environ)
        # What it has sent ahead does not hide that it leaves.
        theirs.sendall(b'GET / HTTP/1.1\r\n')
        assert not wsgi.client_left(environ)
        theirs.close()
        assert wsgi.client_left(environ)
    assert wsgi.client_left(environ)
