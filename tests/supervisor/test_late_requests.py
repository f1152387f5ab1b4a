"""F48: nothing is done for who has gone, whose time is over, or who asked before."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shmstream import (
    State,
    StreamReplaced,
    Streams,
    SupervisorUnavailable,
    clock,
)
from shmstream.control.client import ControlClient
from shmstream.control.request import REPLY_S, call
from shmstream.control.wire import MAX_REQUEST, FrameReader, Message, encode
from shmstream.ids import NOBODY, digest
from shmstream.memory.directory import RuntimeDirectory
from tests.supervisor.conftest import Start, status
from tests.supervisor.raw import connected, reply
from tests.supervisor.test_collecting import finished, there
from tests.support.frozen import freeze
from tests.support.leaks import wait_until

ABOUT = {'owner': NOBODY.hex(), 'id': 'a'}
HELLO = {'op': 'hello', 'pid': os.getpid(), 'masters': []}


def listed(streams: Streams) -> list[dict[str, Any]] | None:
    """All streams; None if the supervisor is not asked."""
    try:
        return streams.list()
    except SupervisorUnavailable:
        return None


def test_f48_a_request_that_was_refused_is_not_carried_out_later(
    directory: Path, start: Start
) -> None:
    """1. The supervisor stops. 2. Three ask, and give up. 3. It goes on.

    Result: the stream that they asked about has not noticed.
    """
    supervisor = start()
    askers = [Streams.attach(directory) for _ in range(3)]
    with Streams.attach(directory) as streams:
        live = streams.create('a')
        for asker in askers:
            asker.connect()
        refused: list[str] = []

        def ask(question: Callable[[str], object]) -> None:
            try:
                question('a')
            except SupervisorUnavailable as ex:
                refused.append(str(ex))

        questions = (askers[0].create, askers[1].evict, askers[2].cancel)
        threads = [threading.Thread(target=ask, args=(q,)) for q in questions]
        freeze(supervisor.pid)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            supervisor.send_signal(signal.SIGCONT)
        assert len(refused) == 3
        # All that was there to read has been read when this is answered.
        assert status(directory) is not None
        assert live.write(b'data: x\n\n')
        # A process that was refused is refused at once, for a while.
        assert wait_until(lambda: listed(streams) is not None)
        (found,) = streams.list()
        assert (found['generation'], found['state']) == (live.generation, 'live')
        assert os.listdir(directory / 'sessions') == [digest(NOBODY, 'a')]
        for asker in askers:
            asker.close()


@pytest.mark.parametrize('op', ['create', 'evict', 'cancel'])
def test_f48_nothing_is_done_once_the_asker_s_time_is_over(
    directory: Path, start: Start, op: str
) -> None:
    supervisor = start()
    with Streams.attach(directory) as streams:
        live = streams.create('a')
        with connected((directory, supervisor.pid)) as sock:
            sock.sendall(encode(HELLO))
            assert reply(sock)['ok']
            over = {'op': op, 'until': clock.now_ns() - 1}
            sock.sendall(encode(over | ABOUT))
            refused = reply(sock)
            assert (refused['ok'], refused['late']) == (False, True)
        assert live.write(b'x')
        assert [s['generation'] for s in streams.list()] == [live.generation]


def test_f48_who_leaves_and_does_not_wait_has_left(
    directory: Path, start: Start
) -> None:
    supervisor = start()
    freeze(supervisor.pid)
    with connected((directory, supervisor.pid)) as sock:
        sock.sendall(encode({'op': 'leave', 'pid': os.getpid(), 'until': 0}))
    supervisor.send_signal(signal.SIGCONT)
    assert supervisor.wait(30) == 0


def test_f48_a_stream_that_cannot_be_handed_over_is_taken_back(
    directory: Path, start: Start
) -> None:
    """1. Somebody reads no reply, and asks for a stream. 2. It is made. 3. He leaves.

    Result: there is no such stream, and who follows it is told so at once.
    """
    supervisor = start()
    with Streams.attach(directory) as streams:
        finished(streams, *(f'{number:0512}' for number in range(400)))
        with connected((directory, supervisor.pid)) as sock:
            asked: list[Message] = [HELLO, *[{'op': 'list'}] * 3]
            asked.append({'op': 'create'} | ABOUT)
            sock.sendall(b''.join(encode(each) for each in asked))
            assert wait_until(lambda: 'a' in there(streams))
            consumer = streams.open('a')
        assert wait_until(lambda: 'a' not in there(streams))
        assert not (directory / 'sessions' / digest(NOBODY, 'a')).exists()
        assert consumer.evicted
        assert consumer.state is State.CANCELLED
        assert consumer.finished


def ask(sock: socket.socket, op: str, asked: int, **fields: Any) -> Any:
    sock.sendall(encode({'op': op, 'asked': asked} | ABOUT | fields))
    return reply(sock)


def test_f48_what_was_asked_before_a_stream_does_not_concern_it(
    directory: Path, start: Start
) -> None:
    """As a supervisor's death has it: the first try was lost, the second comes late."""
    supervisor = start()
    with Streams.attach(directory) as streams:
        before = clock.now_ns()
        live = streams.create('a')
        with connected((directory, supervisor.pid)) as sock:
            sock.sendall(encode(HELLO))
            assert reply(sock)['ok']
            for op in ('evict', 'cancel'):
                assert not ask(sock, op, before, again=True)['found']
            found = ask(sock, 'create', before, again=True)
            assert found['replaced'] == live.generation
            assert live.write(b'x')
            # One that comes later does.
            assert ask(sock, 'evict', clock.now_ns())['found']
        assert not live.write(b'x')


def test_f48_a_stream_that_is_asked_for_again_takes_the_place_of_its_first_try(
    directory: Path, start: Start
) -> None:
    supervisor = start()
    with connected((directory, supervisor.pid)) as sock:
        sock.sendall(encode(HELLO))
        assert reply(sock)['ok']
        asked = clock.now_ns()
        first = ask(sock, 'create', asked)
        second = ask(sock, 'create', asked, again=True)
        assert second['ok']
        assert second['generation'] != first['generation']


class Dying:
    """A supervisor that greets, and dies once before it replies; then it refuses."""

    def __init__(self, directory: RuntimeDirectory) -> None:
        self.requests: list[Message] = []
        directory.create()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory.socket))
        self._listener.listen()
        self._listener.settimeout(30)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for last in (False, True):
            peer, _ = self._listener.accept()
            with peer:
                peer.settimeout(30)
                frames = FrameReader(MAX_REQUEST)
                self._next(peer, frames)
                peer.sendall(encode({'ok': True}))
                self.requests.append(self._next(peer, frames))
                if last:
                    peer.sendall(encode({'ok': False, 'replaced': '0' * 16}))

    @staticmethod
    def _next(peer: socket.socket, frames: FrameReader) -> Message:
        while True:
            if messages := frames.feed(peer.recv(1 << 16)):
                return messages[0]

    def close(self) -> None:
        """Wait for its end."""
        self._thread.join()
        self._listener.close()


def test_f48_a_request_is_made_again_as_what_it_was(directory: Path) -> None:
    """It says when it was asked first, and that it may have been carried out."""
    where = RuntimeDirectory(directory)
    dying = Dying(where)
    client = ControlClient(where, lambda: None, lambda: {}, lambda _: None)
    try:
        before = clock.now_ns()
        with pytest.raises(StreamReplaced):
            client.request('create', id='a')
    finally:
        client.close()
        dying.close()
        where.socket.unlink()
        where.sessions.rmdir()
        where.path.rmdir()
    first, second = dying.requests
    assert before <= first['asked'] == second['asked'] <= clock.now_ns()
    assert (first.get('again'), second['again']) == (None, True)
    # The time is that of the whole, give or take what computing it takes.
    assert abs(second['until'] - first['until']) < clock.NS


LATE = {'ok': False, 'error': 'the request came too late', 'late': True}


@pytest.mark.parametrize(
    ('wait_s', 'margin_s'), [(REPLY_S, 0.2), (2.0, 0.2), (1.0, 0.1), (0.25, 0.025)]
)
def test_f48_a_reply_has_time_to_find_its_asker(wait_s: float, margin_s: float) -> None:
    """What is done at the last moment is done for somebody who is still there."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(encode({'ok': True}))
        before = clock.now_ns()
        call(ours, {'op': 'status'}, wait_s)
        (request,) = FrameReader(MAX_REQUEST).feed(theirs.recv(1 << 16))
    assert request['asked'] >= before
    waits_s = (request['until'] - request['asked']) / clock.NS
    assert waits_s == pytest.approx(wait_s - margin_s)


@pytest.mark.parametrize('late_at', ['hello', 'create'])
def test_f48_who_is_told_that_it_is_late_has_found_no_supervisor(
    directory: Path, late_at: str
) -> None:
    """One that is stopped, and goes on in the last moment of a request."""
    where = RuntimeDirectory(directory)
    where.create()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(where.socket))
    listener.listen()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            frames = FrameReader(MAX_REQUEST)
            while data := peer.recv(1 << 16):
                for request in frames.feed(data):
                    late = request['op'] == late_at
                    peer.sendall(encode(LATE if late else {'ok': True}))

    thread = threading.Thread(target=serve)
    thread.start()
    client = ControlClient(where, lambda: None, lambda: {}, lambda _: None)
    try:
        with pytest.raises(SupervisorUnavailable, match='no reply in time'):
            client.request('create', id='a')
        if late_at == 'create':
            # It was a whole reply: the connection is as good as ever.
            assert client.request('status')[0]['ok']
    finally:
        client.close()
        thread.join()
        listener.close()
        where.socket.unlink()
        where.sessions.rmdir()
        where.path.rmdir()
