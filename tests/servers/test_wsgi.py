"""WSGI under gunicorn's workers: threads, greenlets, and one request at a time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from shmstream import Streams
from tests.support.client import Client, Live
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.service import ROOT, Service

CONFIG = ROOT / 'examples' / 'gunicorn.conf.py'
APP = 'tests.servers.wsgi:app'
WORKERS = {
    'gevent': ('-k', 'gevent'),
    'gthread': ('-k', 'gthread', '--threads', '8'),
    'sync': ('-k', 'sync'),
}


def prompt(words: int) -> bytes:
    return ' '.join(map(str, range(words))).encode()


def answer(words: int) -> bytes:
    return b''.join(b'data: %d\n\n' % number for number in range(words))


SHORT, MIDDLE, LONG = 20, 150, 100_000
"""Words; the example says 50 a second."""


@pytest.fixture(params=matrix(WORKERS, 'gthread'))
def service(request: pytest.FixtureRequest, serve: Callable[..., Service]) -> Service:
    """Two workers of each class."""
    arguments = (*WORKERS[request.param], APP)
    return serve(workers=2, config=CONFIG, arguments=arguments, ready='Booting worker')


def begun(client: Client, chat: str, words: int) -> int:
    """POST; returns the worker that produces, once the stream is there."""
    reply = client.call('POST', f'/chats/{chat}', prompt(words))
    assert reply.status == 202

    def there() -> bool:
        with client.open('GET', f'/chats/{chat}') as live:
            return live.status == 200

    assert wait_until(there)
    return int(reply.headers['stream-worker'])


def follow_elsewhere(client: Client, chat: str, producer: int) -> Live:
    """Follow it from a worker that does not produce it."""
    deadline = time.monotonic() + 20
    while True:
        live = client.open('GET', f'/chats/{chat}')
        # A worker that has seen too many such attempts says 503 for a moment.
        if live.status == 200 and live.worker != producer:
            return live
        live.close()
        assert time.monotonic() < deadline


def rest(client: Client, chat: str, offset: int) -> bytes:
    """What a reader that has been cut gets from there to the end.

    Another worker that leaves may be asked first, and says so, or cuts it again.
    """
    deadline = time.monotonic() + 20
    data = b''
    while True:
        with client.open('GET', f'/chats/{chat}?from={offset + len(data)}') as live:
            if live.status != 503:
                data += live.rest()
                if live.whole:
                    return data
        assert time.monotonic() < deadline


def test_f56_a_stream_is_followed_from_another_worker_resumed_and_stopped(
    service: Service,
) -> None:
    client = service.client()
    producer = begun(client, 'a', SHORT)
    with follow_elsewhere(client, 'a', producer) as live:
        assert live.rest() == answer(SHORT)
        assert live.whole
    for _ in range(4):
        assert client.get('/chats/a?from=100').body == answer(SHORT)[100:]
    begun(client, 'b', LONG)
    with client.open('GET', '/chats/b') as live:
        live.until(100)
        # By the worker that is free, if there is only one.
        assert client.delete('/chats/b').status == 204
        data = live.rest()
        assert live.whole
        assert answer(LONG).startswith(data)
    assert client.get('/chats/b').status == 404


def test_f56_a_killed_worker_s_stream_ends_in_band(service: Service) -> None:
    client = service.client()
    producer = begun(client, 'a', LONG)
    with follow_elsewhere(client, 'a', producer) as live:
        live.until(50)
        os.kill(producer, signal.SIGKILL)
        data = live.rest()
        assert live.whole
        assert b'error' in data.split(b'\n\n')[-2]
    begun(client, 'b', SHORT)
    # Whole, so that no thread of a worker writes any more when the service stops.
    assert rest(client, 'b', 0) == answer(SHORT)


def test_f56_a_reload_cuts_readers_that_go_on_elsewhere(service: Service) -> None:
    client = service.client()
    text = b'data: x\n\n' * 20
    # Written by a process that the reload does not end: what is cut is the reader.
    with Streams.attach(service.directory) as streams, streams.create('a') as producer:
        assert producer.write(text)
        with client.open('GET', '/chats/a') as live:
            live.until(50)
            service.signal(signal.SIGHUP)
            data = live.rest()
            assert not live.whole
        assert text.startswith(data)
        assert producer.write(text)
        producer.finish()
        assert data + rest(client, 'a', len(data)) == text + text


def test_f56_a_reload_loses_nothing_of_what_its_workers_write(
    service: Service,
) -> None:
    client = service.client()
    begun(client, 'a', MIDDLE)
    with client.open('GET', '/chats/a') as live:
        live.until(50)
        service.signal(signal.SIGHUP)
        data = live.rest()
        whole = live.whole
    if not whole:
        data += rest(client, 'a', len(data))
    assert data == answer(MIDDLE)


def test_f56_a_quiet_stream_s_answer_begins_at_once(service: Service) -> None:
    client = service.client()
    with Streams.attach(service.directory) as streams, streams.create('a') as producer:
        assert producer.write(b'data: x\n\n')
        # No byte of it is there: the head alone says that it lives.
        with client.open('GET', '/chats/a?from=9') as live:
            assert live.status == 200
            assert producer.write(b'data: y\n\n')
            producer.finish()
            assert live.rest() == b'data: y\n\n'


def test_f56_a_killed_supervisor_is_replaced(service: Service) -> None:
    client = service.client()
    begun(client, 'a', SHORT)
    (before,) = service.supervisors()
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: service.supervisors() not in ([], [before]))
    assert wait_until(lambda: client.call('POST', '/chats/b', b'x').status == 202)
    assert client.get('/chats/a').body == answer(SHORT)
    # What a thread begins while the service stops is told so by its own exception.
    assert wait_until(lambda: client.get('/chats/b').body == b'data: x\n\n')
