"""What we use of gunicorn's insides is there, or a line says that it is not."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.asgi import protocol
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.http import wsgi
from gunicorn.http2.async_connection import AsyncHTTP2Connection
from gunicorn.workers.gasgi import ASGIWorker
from gunicorn.workers.gthread import ThreadWorker

from shmstream.deploy import gunicorn_ends, gunicorn_insides, gunicorn_workers, hooks
from shmstream.deploy.worker_life import WorkerLife
from tests.support.leaks import wait_until


class Listener:
    closed = False

    def close(self) -> None:
        self.closed = True


class Log:
    """A log of gunicorn's."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str, *args: object) -> None:
        self.warnings.append(message % args)


NO_CHOICE = SimpleNamespace(worker_class_str='asgi', settings={})
"""The configuration of a gunicorn that has no choice of parsers."""


class Worker(ASGIWorker):  # type: ignore[misc]
    """A worker that has never been started."""

    def __init__(self) -> None:
        self.servers = [Listener()]
        self.cfg = NO_CHOICE


def test_this_gunicorn_is_as_it_is_known() -> None:
    worker = Worker()
    assert gunicorn_insides.missing(worker) == []
    gunicorn_ends.close_listeners(worker)
    assert worker.servers[0].closed
    gunicorn_ends.close_listeners(None)


@pytest.mark.parametrize(
    ('name', 'off'),
    [
        ('_send_response_start', 'early headers'),
        ('_safe_write', 'early headers'),
        ('_handle_http_request', 'direct writes'),
        ('_handle_http_request', 'chunked responses'),
    ],
)
def test_what_is_off_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, off: str
) -> None:
    class Protocol(ASGIProtocol):  # type: ignore[misc]
        pass

    for key, value in vars(ASGIProtocol).items():
        code = getattr(value, '__code__', None)
        if code is not None and key != name and name not in code.co_names:
            setattr(Protocol, key, value)
    setattr(Protocol, name, None)
    monkeypatch.setattr('gunicorn.asgi.protocol.ASGIProtocol', Protocol)
    lines = gunicorn_insides.missing(Worker())
    assert any(line.startswith(off) for line in lines)
    if off == 'early headers':
        gunicorn_insides.send_headers_early()
        assert Protocol._send_response_start in (
            None,
            ASGIProtocol._send_response_start,
        )


def test_a_receive_of_another_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol.BodyReceiver.receive, '__module__', 'compiled')
    (line,) = gunicorn_insides.missing(Worker())
    assert line.startswith('requests of its own are off')
    monkeypatch.delattr(protocol, 'BodyReceiver')
    assert gunicorn_insides.missing(Worker()) == [line]


def test_http2_without_resets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As gunicorn 26.2 has it: it forgets a stream that has not ended."""
    worker = Worker()
    worker.cfg = SimpleNamespace(http_protocols=['h2', 'h1'])
    assert gunicorn_insides.missing(worker) == []
    monkeypatch.setattr(AsyncHTTP2Connection, 'cleanup_stream', lambda *_: None)
    (line,) = gunicorn_insides.missing(worker)
    assert line.startswith('cuts over HTTP/2 are off')
    worker.cfg = SimpleNamespace(http_protocols=['h1'])
    assert gunicorn_insides.missing(worker) == []


def start(worker: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a worker that starts writes into the log."""
    worker.log = Log()
    monkeypatch.setattr(gunicorn_insides, 'send_headers_early', lambda: None)
    monkeypatch.setattr(hooks, 'worker_life', SimpleNamespace(current=WorkerLife()))
    for unused in ('run_by', 'drain_before_end', '_log_with', '_hear_signals'):
        monkeypatch.setattr(hooks, unused, lambda *_: None)
    hooks.post_worker_init(worker)
    return worker.log.warnings  # type: ignore[no-any-return]


def test_a_worker_says_once_what_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    worker.loop = SimpleNamespace(call_soon=lambda _: None)
    del worker.servers
    (line,) = start(worker, monkeypatch)
    assert line.startswith('shmstream: closed listeners are off')


class WsgiWorker:
    """A worker that has threads, as far as it matters."""

    cfg = NO_CHOICE


class Fussy(wsgi.Response):  # type: ignore[misc]
    """It sends the head with the first byte, as PEP 3333 says."""

    def write(self, arg: bytes) -> None:
        if arg:
            super().write(arg)


class Ending(wsgi.Response):  # type: ignore[misc]
    """It sends an empty part as a chunk, which ends the body."""

    def write(self, arg: bytes) -> None:
        self.send_headers()
        self._emit_body(arg)


def environ_without_socket(req: Any, sock: Any, cfg: Any) -> dict[str, Any]:
    return {'wsgi.input': req.body}


@pytest.mark.parametrize(
    ('name', 'other', 'off'),
    [
        ('Response', wsgi.Response, None),
        ('Response', Fussy, 'empty first parts'),
        ('Response', Ending, 'empty first parts'),
        ('Response', None, 'empty first parts'),
        ('default_environ', environ_without_socket, 'sockets of clients'),
    ],
)
def test_a_wsgi_worker_says_what_is_off(
    monkeypatch: pytest.MonkeyPatch, name: str, other: Any, off: str | None
) -> None:
    if other is None:
        monkeypatch.delattr(wsgi, name)
    else:
        monkeypatch.setattr(wsgi, name, other)
    lines = start(WsgiWorker(), monkeypatch)
    assert [line.partition(' are off')[0] for line in lines] == (
        [] if off is None else [f'shmstream: {off}']
    )


def test_gevents_own_server_shows_the_socket_under_another_name() -> None:
    from gunicorn.workers.ggevent import GeventPyWSGIWorker

    worker = GeventPyWSGIWorker.__new__(GeventPyWSGIWorker)
    assert gunicorn_insides.missing(worker) == []
    worker.wsgi_handler = object
    assert len(gunicorn_insides.missing(worker)) == 1


def test_a_gevent_worker_that_waits_otherwise_is_named() -> None:
    from gunicorn.workers.ggevent import GeventWorker

    class Other(GeventWorker):  # type: ignore[misc]
        def run(self) -> None: ...

    assert gunicorn_insides.missing(GeventWorker.__new__(GeventWorker)) == []
    (line,) = gunicorn_insides.missing(Other.__new__(Other))
    assert line.startswith('longer graceful timeouts are off')


def test_a_worker_whose_threads_are_not_known_is_named() -> None:
    worker = object.__new__(ThreadWorker)
    worker.cfg = SimpleNamespace(threads=4)
    assert gunicorn_insides.missing(worker) == []
    assert gunicorn_workers.threads_of(worker) == 4
    worker.cfg = SimpleNamespace()
    (line,) = gunicorn_insides.missing(worker)
    assert line.startswith('bounded readers are off')


def test_the_graceful_timeout_grows_while_answers_go_on() -> None:
    """And is gunicorn's own again for whatever comes after them."""
    answering = False
    own = SimpleNamespace(get=lambda: 10, name='graceful_timeout')
    worker = SimpleNamespace(cfg=SimpleNamespace(settings={'graceful_timeout': own}))
    gunicorn_ends.wait_for_answers(worker, lambda: answering)
    setting = worker.cfg.settings['graceful_timeout']
    assert setting.name == 'graceful_timeout'
    assert setting.get() == 10
    answering = True
    began = time.monotonic()
    assert setting.get() == 10
    assert wait_until(lambda: setting.get() > 10.01)
    answering = False
    passed = setting.get() - 10
    assert 0.01 < passed <= time.monotonic() - began
    assert setting.get() - 10 == passed
    gunicorn_ends.wait_for_answers(SimpleNamespace(cfg=None), lambda: True)


def test_other_workers_are_left_alone() -> None:
    assert gunicorn_workers.is_asgi_worker(Worker())
    assert not gunicorn_workers.is_asgi_worker(object())


def test_a_stop_is_announced_before_it_begins() -> None:
    seen: list[Any] = []

    class Arbiter:
        def stop(self, graceful: bool = True) -> None:
            seen.append(graceful)

    arbiter = Arbiter()
    gunicorn_ends.before_stop(arbiter, lambda: seen.append('announced'))
    arbiter.stop(False)
    assert seen == ['announced', False]


def test_an_arbiter_without_a_stop_gets_a_line() -> None:
    class Arbiter:
        log = Log()

    gunicorn_ends.before_stop(Arbiter(), lambda: None)
    (line,) = Arbiter.log.warnings
    assert 'announced stops are off' in line


def test_other_servers_receive_is_none_of_its_own() -> None:
    class Compiled:
        """As of a server that is written in another language."""

        __module__ = None  # type: ignore[assignment]

    async def receive() -> None: ...

    assert not gunicorn_insides.is_its_own(receive)
    assert not gunicorn_insides.is_its_own(Compiled())
    receive.__module__ = 'gunicorn.asgi.protocol'
    assert gunicorn_insides.is_its_own(receive)
