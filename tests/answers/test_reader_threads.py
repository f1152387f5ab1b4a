"""Not more than a share of a WSGI worker's threads are readers."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import pytest
from gunicorn.workers.gasgi import ASGIWorker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker

from shmstream import LocalError, Streams, owner_of
from shmstream.deploy.worker_life import WorkerLife
from shmstream.flask import Answers
from shmstream.serving import Problem
from shmstream.wsgi import Application, reader_threads
from shmstream.wsgi.reader_threads import ReaderThreads
from tests.answers.deployments import Start, starter
from tests.producing.steered import FIRST, WHOLE
from tests.support.client import Client, Live
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.service import Service

THREADS, FOLLOWERS = 16, 18


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reader that another test may have left counts."""
    monkeypatch.setattr(reader_threads, '_taken', {})


def life_of(cls: type, threads: int = 1) -> WorkerLife:
    """The life of a worker of this class, which has never been started."""
    life = WorkerLife()
    worker: Any = object.__new__(cls)
    worker.cfg = SimpleNamespace(threads=threads)
    life.worker = worker
    return life


@pytest.mark.parametrize(
    ('threads', 'most'), [(1, 1), (2, 1), (4, 3), (8, 6), (16, 12)]
)
def test_three_quarters_of_the_threads_and_at_least_one(
    threads: int, most: int
) -> None:
    assert ReaderThreads(life=life_of(ThreadWorker, threads)).most() == most


def test_the_share_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_threads, 'reader_share', lambda: 0.5)
    assert ReaderThreads(life=life_of(ThreadWorker, 8)).most() == 4


def test_there_is_no_bound_where_the_threads_are_not_known() -> None:
    assert ReaderThreads(life=life_of(SyncWorker)).most() == 1
    assert ReaderThreads(life=life_of(ASGIWorker)).most() is None
    assert ReaderThreads(life=WorkerLife()).most() is None
    assert ReaderThreads(5, life_of(ASGIWorker)).most() == 5
    with pytest.raises(LocalError, match='at least 1'):
        ReaderThreads(0)


def test_a_place_is_given_back_once_and_with_its_last_reference() -> None:
    readers, others = ReaderThreads(2), ReaderThreads(1)
    first, second = readers.take(), readers.take()
    # All applications of a process have the same threads.
    for full in (readers, others):
        with pytest.raises(Problem, match='retry later') as refused:
            full.take()
        assert (refused.value.status, refused.value.retry_after) == (503, 2)
    first.give_back()
    first.give_back()
    third = readers.take()
    with pytest.raises(Problem):
        readers.take()
    del second
    third.give_back()
    others.take()
    assert not reader_threads._taken


def test_a_child_of_a_fork_has_no_reader() -> None:
    place = ReaderThreads(1).take()
    reader_threads._forget()
    assert ReaderThreads(1).take()
    place.give_back()


def asked(
    app: Application, target: str, started: list[str], method: str = 'GET'
) -> Iterable[bytes]:
    """Ask the application; returns the body, and notes the status."""
    environ = {'REQUEST_METHOD': method, 'PATH_INFO': target}
    return app(environ, lambda status, headers: started.append((status, headers)))  # type: ignore[arg-type]


def test_an_application_refuses_one_reader_more(streams: Streams) -> None:
    app, started = Application(streams, readers=1), []  # type: ignore[var-annotated]
    with streams.create('a') as producer:
        producer.write(b'1')
        body: Any = asked(app, '/a', started)
        assert next(body) == b'1'
        refused = b''.join(asked(app, '/a', started))
        status, headers = started[-1]
        assert status == '503 Service Unavailable'
        assert dict(headers)['retry-after'] == '2'
        assert b'as many readers as it may have (1)' in refused
        # They hold no thread.
        assert not list(asked(app, '/a', started, 'HEAD'))
        assert started[-1][0] == '200 OK'
        body.close()
        asked(app, '/a', started).close()  # type: ignore[attr-defined]
        assert started[-1][0] == '200 OK'
    assert not reader_threads._taken


@pytest.mark.parametrize('size', [65536, 65537], ids=['at once', 'by and by'])
def test_a_long_rest_of_an_ended_stream_has_a_reader(
    streams: Streams, size: int
) -> None:
    with streams.create('a', capacity=1 << 20) as producer:
        producer.write(bytes(size))
    body: Any = asked(Application(streams, readers=1), '/a', [])
    assert len(reader_threads._taken) == (size > 65536)
    assert sum(map(len, body)) == size
    getattr(body, 'close', lambda: None)()
    assert not reader_threads._taken


def test_who_waits_for_a_stream_to_begin_is_a_reader(streams: Streams) -> None:
    app, started = Application(streams, readers=1), []  # type: ignore[var-annotated]
    with streams.create('a', pending=True) as producer:
        waiting = threading.Thread(target=lambda: asked(app, '/a', started))
        waiting.start()
        assert wait_until(lambda: producer.followers == 1)
        b''.join(asked(app, '/a', started))
        assert started[-1][0] == '503 Service Unavailable'
        streams.cancel('a')
        waiting.join()
    assert started[-1][0] == '404 Not Found'
    assert not reader_threads._taken


def test_a_reply_that_is_never_sent_holds_no_place(streams: Streams) -> None:
    app = Application(streams, readers=1)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with streams.create('a') as producer:
        producer.write(b'1')
        with pytest.raises(ZeroDivisionError) as raised:
            app({'REQUEST_METHOD': 'GET', 'PATH_INFO': '/a'}, broken)
        # Whoever keeps the exception: its traceback keeps the reply.
        assert raised.tb is not None
        assert not reader_threads._taken
        asked(app, '/a', [])
        gc.collect()
        assert not reader_threads._taken


class Source:
    """Yields nothing, and notes what is done with it."""

    def __init__(self) -> None:
        self.begun = self.closed = False

    def __iter__(self) -> Iterator[str]:
        self.begun = True
        yield 'a'

    def close(self) -> None:
        self.closed = True


def test_a_post_is_refused_before_its_source_begins(
    streams: Streams, conv_id: str
) -> None:
    sources: list[Source] = []
    app = flask.Flask(__name__)
    answers = Answers('/chats', streams=streams, readers=1)
    app.register_blueprint(answers.blueprint)

    @app.post('/chats/<chat>')
    def ask(chat: str) -> Any:
        sources.append(Source())
        return answers.start(chat, sources[-1])

    client = app.test_client()
    place = ReaderThreads().take()
    refused = client.post(f'/chats/{conv_id}')
    assert (refused.status_code, refused.headers['Retry-After']) == (503, '2')
    assert sources[0].closed
    assert not sources[0].begun
    assert client.get(f'/chats/{conv_id}').status_code == 404
    place.give_back()
    with client.post(f'/chats/{conv_id}') as whole:
        assert whole.data == b'data: a\n\n'
    assert not reader_threads._taken
    assert client.post(f'/chats/{conv_id}' + 'a' * 600).status_code == 400
    assert not reader_threads._taken


@pytest.mark.parametrize('error', [RuntimeError, SystemExit])
def test_a_post_that_cannot_begin_holds_no_place(
    streams: Streams, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while somebody keeps the exception (a debugger, a reporter of errors)."""
    raised: list[BaseException] = []

    def broken(*_: object, **__: object) -> None:
        try:
            raise error('no more threads')
        except BaseException as ex:
            raised.append(ex)
            raise

    monkeypatch.setattr(streams, 'start_in_thread', broken)
    answers = Answers('/chats', streams=streams, readers=1)
    app = flask.Flask(__name__)
    app.add_url_rule('/', 'ask', lambda: answers.start('a', Source()))
    try:
        assert app.test_client().get('/').status_code == 500
    except SystemExit:
        assert error is SystemExit
    assert type(raised[0]) is error
    assert not reader_threads._taken


@pytest.fixture(params=matrix(('flask-gthread', 'falcon-gthread'), 'flask-gthread'))
def start(
    request: pytest.FixtureRequest, serve: Callable[..., Service], tmp_path: Path
) -> Start:
    """Start workers with threads."""
    return starter(request.param, serve, tmp_path)


def follow(client: Client, stack: ExitStack) -> list[Live]:
    """Open more readers than there are threads; returns those that are let in."""
    opened = [
        stack.enter_context(client.open('GET', '/chats/a')) for _ in range(FOLLOWERS)
    ]
    for live in opened:
        assert live.status == 200 or live.headers['retry-after'] == '2'
    return [live for live in opened if live.status == 200]


def test_readers_leave_threads_for_everything_else(start: Start) -> None:
    """18 followers ask one worker of 16 threads: 12 follow, and 4 threads are free."""
    there = start('--threads', str(THREADS), workers=1)
    client = there.client
    with (
        Streams.attach(there.server.directory) as streams,
        streams.create('a', owner=owner_of('somebody')) as producer,
        ExitStack() as stack,
    ):
        producer.write(FIRST)
        readers = follow(client, stack)
        assert len(readers) == 12
        assert client.get('/which').status == 200
        refused = client.call(
            'POST',
            '/chats/b',
            json.dumps(there.asked('b')).encode(),
            {'Content-Type': 'application/json'},
        )
        assert (refused.status, refused.headers['retry-after']) == (503, '2')
        # The source is a generator function: nobody has called it.
        assert there.gate('b').closed() == ''
        assert client.call('HEAD', '/chats/a').status == 200
        assert client.delete('/chats/a').status == 204
        producer.cancel()
        for live in readers:
            assert live.rest() == FIRST
            assert live.whole
    # Their places are free again.
    there.gate('b').open()

    def answered() -> bool:
        body = json.dumps(there.asked('b')).encode()
        headers = {'Content-Type': 'application/json'}
        with client.open('POST', '/chats/b', body, headers) as live:
            return live.status == 200 and live.rest() == WHOLE

    assert wait_until(answered)


def test_readers_that_hang_up_give_their_places_back(start: Start) -> None:
    there = start('--threads', '4', workers=1, READER_SHARE='0.25')
    client = there.client
    with (
        Streams.attach(there.server.directory) as streams,
        streams.create('a', owner=owner_of('somebody')) as producer,
    ):
        producer.write(FIRST)
        for _ in range(3):

            def alone() -> bool:
                with client.open('GET', '/chats/a') as live:
                    if live.status != 200:
                        return False
                    assert client.get('/chats/a').status == 503
                    return live.until(len(FIRST)) == FIRST

            assert wait_until(alone)


def test_greenlets_are_not_bounded(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    there = starter('flask-gevent', serve, tmp_path)(workers=1)
    with (
        Streams.attach(there.server.directory) as streams,
        streams.create('a', owner=owner_of('somebody')) as producer,
        ExitStack() as stack,
    ):
        producer.write(FIRST)
        assert len(follow(there.client, stack)) == FOLLOWERS
        assert there.client.get('/which').status == 200
