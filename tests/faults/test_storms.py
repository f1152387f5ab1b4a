"""Too much at once: doorbells, signals, streams, and clients that leave."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import posix_ipc
import pytest

from shmstream import Consumer, Streams
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.semaphore import semaphore_name
from tests.deploy.test_leaving import begin
from tests.support.ends import failure
from tests.support.frozen import freeze
from tests.support.leaks import wait_until
from tests.support.resume import ResumingReader
from tests.support.service import Service
from tests.support.upstream import Exchange, Script, ScriptedUpstream
from tests.support.worker import Worker

MILLION = 1_000_000


def has_come_to(reader: Worker, offset: int) -> bool:
    return bool(reader.order('followed_to', 'c') == offset)


def test_f06_a_million_rings_while_a_worker_is_stopped_do_no_harm(
    directory: Path, streams: Streams
) -> None:
    """1. A reader sleeps. 2. It is stopped, and rung a million times. 3. It goes on."""
    producer = streams.create('c')
    with Worker(directory, deployed=False) as reader:
        reader.follow('c')
        assert wait_until(lambda: producer.followers == 1)
        slot = reader.order('attached')['slot']
        table = WorkerTable.attach(directory / 'workers')
        bell = posix_ipc.Semaphore(semaphore_name(table.token, table.epoch(slot)))
        freeze(reader.pid)
        try:
            for _ in range(MILLION):
                bell.release()
            producer.write(b'data: x\n\n')
        finally:
            os.kill(reader.pid, signal.SIGCONT)
        assert wait_until(partial(has_come_to, reader, 9))
        # All of them have been taken, and it sleeps and wakes as before.
        assert wait_until(lambda: bell.value == 0)
        for number in range(2, 50):
            producer.write(b'data: x\n\n')
            assert wait_until(partial(has_come_to, reader, 9 * number))
        producer.finish()
        assert reader.followed('c')['data'] == 'data: x\n\n' * 49
        bell.close()


to_thread = ctypes.CDLL(None).tgkill


def test_f24_signals_interrupt_nothing(serve: Callable[..., Service]) -> None:
    """A storm of SIGUSR1 (gunicorn opens its logs again) hits all threads of workers.

    A wait of the doorbell thread is interrupted only by a signal that is sent to it.
    """
    service = serve(workers=2, settings={'DEMO_RATE': '200'})
    client = service.client()
    pids = service.worker_pids()
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            for pid in pids:
                for thread_id in map(int, os.listdir(f'/proc/{pid}/task')):
                    to_thread(pid, thread_id, signal.SIGUSR1)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        with begin(client, 'chat', 500) as post:
            readers = [ResumingReader(client, 'chat') for _ in range(6)]
            whole = post.rest()
            assert post.whole
        for reader in readers:
            assert reader.result() == whole
            # Nobody was cut off by a signal.
            assert len(reader.workers) == 1
        assert service.worker_pids() == pids
    finally:
        over.set()
        thread.join()
    assert '[ERROR]' not in service.text()


def reset(sock: socket.socket) -> None:
    """Leave with RST rather than FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def asks(service: Service, request: bytes, receive_buffer: int = 4096) -> socket.socket:
    """A connection whose receive buffer is soon full, with a request sent."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(20)
    sock.connect(('127.0.0.1', service.port))
    sock.sendall(request)
    return sock


BLOCKS = 192

GET = b'GET /v1/stream/%s?from=0 HTTP/1.1\r\nHost: x\r\n\r\n'


@pytest.mark.parametrize('leave', [reset, socket.socket.close])
def test_f26_readers_that_leave_are_counted_no_more(
    serve: Callable[..., Service],
    upstream: Callable[[Script], ScriptedUpstream],
    leave: Callable[[socket.socket], None],
) -> None:
    """Five hundred leave a quiet stream: after their request, or after its headers.

    Others leave while the worker waits for them to read. Result: nobody is counted.
    """
    over = threading.Event()
    block = b'x' * 65536

    def fill(exchange: Exchange) -> None:
        """12 MiB at once, which no socket buffer takes, then nothing more."""
        exchange.start_stream()
        for _ in range(BLOCKS):
            exchange.chunk(block)
        over.wait(60)
        exchange.end()

    settings = {'UPSTREAM': upstream(fill).url, 'SESSION_BYTES': '16MiB'}
    service = serve(workers=2, settings=settings)
    client = service.client()
    try:
        with (
            client.post('chat', {}) as post,
            Streams.attach(service.directory) as streams,
        ):
            post.until(BLOCKS * len(block))
            consumer = streams.open('chat')
            streams.connect()
            for number in range(500):
                sock = asks(service, GET % b'chat')
                if number % 2:
                    assert sock.recv(1)
                leave(sock)
            assert wait_until(lambda: listening(streams, consumer) == 1, 20)
            # These have been sent what fits, and the worker waits within send().
            stuck = [asks(service, GET % b'chat') for _ in range(20)]
            assert wait_until(lambda: listening(streams, consumer) == 21, 20)
            for sock in stuck:
                assert sock.recv(1)
                leave(sock)
            assert wait_until(lambda: listening(streams, consumer) == 1, 20)
            over.set()
            post.rest()
            assert post.whole
    finally:
        over.set()


def listening(streams: Streams, consumer: Consumer) -> int:
    """Followers of a stream in all processes."""
    return streams._process.followers.everywhere(consumer._segment)


def test_f28_a_hundred_streams_are_told_that_the_service_stops(
    serve: Callable[..., Service],
) -> None:
    """1. A hundred answer tasks run, and are read. 2. SIGTERM. 3. All end in-band."""
    service = serve(workers=2, settings={'DEMO_RATE': '5'})
    client = service.client()
    posts = [client.post(f'c{number}', {'max_tokens': 10_000}) for number in range(100)]
    for post in posts:
        post.until(1)
    service.signal(signal.SIGTERM)
    for post in posts:
        post.rest()
        post.close()
        assert post.whole
        assert post.body.endswith(failure('the producing worker has shut down'))
        assert post.body.endswith(b'\n\n')
    assert service.wait() == 0
    for word in ('WORKER TIMEOUT', '[CRITICAL]', 'SIGKILL'):
        assert word not in service.text()
