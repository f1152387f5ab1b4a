"""Responses of Django that have to be cut, and readers that leave or take nothing.

A response that is cut has no closing chunk, and the log of the server has no error.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shmstream import Producer, Streams
from tests.answers.django_deployment import (
    IN_THREADS,
    WORKERS,
    WSGI,
    Deployment,
)
from tests.producing.steered import CONFIG, WHOLE
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.overtaken import cut_by_the_ring
from tests.support.service import Service
from tests.support.supervisor import gone

KINDS = {
    **{name: WORKERS[name] for name in ('asgi', 'uvicorn', 'gthread', 'gevent')},
    'sync': (('-k', 'sync', WSGI), 'Booting worker', IN_THREADS),
}

Start = Callable[..., Deployment]


def errors(text: str) -> list[str]:
    """The lines of a log that tell an error, but for the death of a killed worker."""
    return [
        line
        for line in text.splitlines()
        if 'ERROR' in line and 'was sent SIGKILL' not in line
    ]


@pytest.fixture(params=matrix(KINDS, 'asgi'))
def start(
    request: pytest.FixtureRequest, serve: Callable[..., Service], tmp_path: Path
) -> Iterator[Start]:
    """Start two workers of each class; afterwards their log may have no error."""
    started: list[Service] = []

    def start(**settings: str) -> Deployment:
        arguments, ready, path = KINDS[request.param]
        service = serve(
            workers=2,
            config=CONFIG,
            arguments=arguments,
            ready=ready,
            settings=settings,
            environment={'ANSWERS_FOLDER': str(tmp_path)},
        )
        started.append(service)
        return Deployment(request.param, service, tmp_path, path)

    yield start
    for service in started:
        assert errors(service.text()) == []


@contextmanager
def stream(
    there: Deployment, conv_id: str, content_type: str = 'text/event-stream'
) -> Iterator[Producer]:
    """A stream that this process writes: no end of a worker ends it."""
    with (
        Streams.attach(there.server.directory) as streams,
        streams.create(conv_id, content_type=content_type) as producer,
    ):
        yield producer


def test_a_reload_in_mid_answer_loses_nothing(start: Start) -> None:
    """1. HUP while the source is silent. 2. Readers are cut, and resume at new workers.

    3. The source goes on in the old worker. 4. The response to the POST goes on to the
    end, too. 5. The old worker ends.
    """
    there = start()
    with there.begin('a') as post, there.elsewhere('a', post.worker) as reader:
        reader.until(len(post.body))
        before = there.server.worker_pids()
        there.server.signal(signal.SIGHUP)
        data = reader.rest()
        assert reader.whole is False
        assert wait_until(there.told)
        there.gate('a').open()
        assert data + there.read('a', len(data)) == WHOLE
        assert post.rest() == WHOLE
        assert post.whole
    assert there.gate('a').closed() == 'ended'
    assert wait_until(lambda: all(map(gone, before)))
    assert there.read('a') == WHOLE


def test_an_answer_of_a_killed_worker_ends_in_band(start: Start) -> None:
    there = start()
    with there.begin('a') as post, there.elsewhere('a', post.worker) as reader:
        os.kill(post.worker, signal.SIGKILL)
        data = reader.rest()
        assert reader.whole
        assert b'event: error' in data
        post.rest()
        assert post.whole is False
    assert there.read('a') == data


def test_a_reader_that_is_overtaken_is_cut(start: Start) -> None:
    there = start(SESSION_BYTES='65536')
    with (
        stream(there, 'a') as producer,
        there.client.open('GET', there.address('a')) as live,
    ):
        producer.write(b'data: 1\n\n')
        live.until(1)
        assert cut_by_the_ring(live, producer)
        assert wait_until(lambda: not producer.followers)


def test_a_failure_that_the_bytes_do_not_tell_cuts(start: Start) -> None:
    there = start()
    with (
        stream(there, 'a', 'text/plain') as producer,
        there.client.open('GET', there.address('a')) as live,
    ):
        producer.write(b'one')
        live.until(3)
        producer.abort('it has failed')
        assert live.rest() == b'one'
        assert live.whole is False


def test_a_reader_that_leaves_a_quiet_stream_counts_no_more(start: Start) -> None:
    there = start()
    with stream(there, 'a') as producer:
        producer.write(b'data: 1\n\n')
        for _ in range(3):
            with there.client.open('GET', there.address('a', 9)) as live:
                # The head comes before any byte.
                assert live.status == 200
                assert wait_until(lambda: producer.followers == 1)
            assert wait_until(lambda: not producer.followers)


def test_a_reader_that_takes_nothing_is_cut(start: Start) -> None:
    there = start(SEND_TIMEOUT='1', SESSION_BYTES='16MiB')
    with (
        stream(there, 'a') as producer,
        there.client.open('GET', there.address('a')) as live,
    ):
        assert live.status == 200
        assert wait_until(lambda: producer.followers == 1)
        for _ in range(256):
            producer.write(bytes(65536))
        assert wait_until(lambda: not producer.followers)
        live.rest()
        assert live.whole is False


def test_what_has_ended_and_is_large_is_whole(start: Start) -> None:
    there = start(SESSION_BYTES='16MiB')
    piece = bytes(range(256)) * 256
    with stream(there, 'a') as producer:
        for _ in range(128):
            producer.write(piece)
        producer.finish()
    reply = there.client.get(there.address('a', 12345))
    assert int(reply.headers['content-length']) == len(piece) * 128 - 12345
    assert reply.body == (piece * 128)[12345:]


@pytest.mark.parametrize('kind', ['asgi', 'uvicorn'])
def test_behind_a_middleware_a_response_is_cut_with_an_error(
    kind: str, serve: Callable[..., Service], tmp_path: Path
) -> None:
    """Nobody can tell which connection it has; all the same, no closing chunk."""
    arguments, ready, path = WORKERS[kind]
    service = serve(
        workers=1,
        config=CONFIG,
        arguments=(*arguments[:-1], 'tests.answers.django_app:wrapped'),
        ready=ready,
        environment={'ANSWERS_FOLDER': str(tmp_path)},
        expected=('Traceback',),
    )
    there = Deployment(kind, service, tmp_path, path)
    with (
        stream(there, 'a', 'text/plain') as producer,
        there.client.open('GET', there.address('a')) as live,
    ):
        producer.write(b'one')
        live.until(3)
        producer.abort('it has failed')
        assert live.rest() == b'one'
        assert live.whole is False
        assert wait_until(lambda: not producer.followers)
    assert 'ResponseCut' in service.text()
    assert there.client.get('/which').status == 200
