"""The control socket: whatever comes in, the supervisor stays and serves the rest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shmstream import ControlError, Streams
from shmstream.control.wire import MAX_REQUEST, FrameReader, encode
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.spawn import ask
from tests.supervisor.conftest import status, supervised
from tests.support.leaks import wait_until

Supervisor = tuple[Path, int]

quick = settings(deadline=None, print_blob=True, max_examples=60)


def connected(supervisor: Supervisor) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    # Without a time-out yet: with one, a full queue is an error at once.
    sock.connect(str(supervisor[0] / 'supervisor.sock'))
    sock.settimeout(10)
    return sock


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, 'big') + body


def reply(sock: socket.socket) -> Any:
    """The next reply; None if the connection was dropped."""
    frames = FrameReader(1 << 20)
    while True:
        try:
            data = sock.recv(1 << 16)
        except ConnectionError:
            return None
        if not data:
            return None
        messages = frames.feed(data)
        if messages:
            return messages[0]


def sent(supervisor: Supervisor, data: bytes) -> Any:
    """Send bytes and nothing more; return the reply, None if there is none."""
    with connected(supervisor) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except ConnectionError:
            return None
        return reply(sock)


def alive(supervisor: Supervisor) -> bool:
    found = status(supervisor[0])
    return found is not None and found['pid'] == supervisor[1]


# -- bytes -----------------------------------------------------------------------------


@given(data=st.binary(max_size=200))
@example(b'\0\0\0\0')
@example(b'\xff\xff\xff\xff')
@example(frame(b'{}'))
@example(frame(b'null'))
@example(frame(b'[1, 2]'))
@example(frame(b'{"op": "status"'))
@example(frame(b'\xff\xfe'))
@example(frame(b'[' * 100_000))
@example(frame(b'{"op":' * 10_000))
@example(frame(b'{"op": "join", "pid": %s}' % (b'9' * 5000)))
@quick
def test_garbage_is_dropped_or_refused(supervisor: Supervisor, data: bytes) -> None:
    found = sent(supervisor, data)
    assert found is None or not found['ok']
    assert alive(supervisor)


@given(body=st.binary(max_size=200))
@quick
def test_frames_of_garbage_are_dropped_or_refused(
    supervisor: Supervisor, body: bytes
) -> None:
    found = sent(supervisor, frame(body))
    assert found is None or not found['ok']
    assert alive(supervisor)


def test_a_frame_that_is_too_long_is_dropped_before_it_is_sent(
    supervisor: Supervisor,
) -> None:
    with connected(supervisor) as sock:
        sock.sendall((MAX_REQUEST + 1).to_bytes(4, 'big'))
        assert reply(sock) is None
    assert alive(supervisor)


def test_the_longest_frame_is_read(supervisor: Supervisor) -> None:
    body = b'{"op": "status", "x": "%s"}'
    body %= b'x' * (MAX_REQUEST - len(body) + 2)
    assert len(body) == MAX_REQUEST
    assert sent(supervisor, frame(body))['pid'] == supervisor[1]


@given(cuts=st.sets(st.integers(1, 21)))
@quick
def test_a_frame_may_come_in_pieces(supervisor: Supervisor, cuts: set[int]) -> None:
    data = encode({'op': 'status'})
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    with connected(supervisor) as sock:
        for begin, end in pairwise(edges):
            sock.sendall(data[begin:end])
        assert reply(sock)['pid'] == supervisor[1]


def test_who_stops_within_a_frame_holds_up_nobody(supervisor: Supervisor) -> None:
    with ExitStack() as stack:
        for size in range(1, 20):
            sock = stack.enter_context(connected(supervisor))
            sock.sendall(encode({'op': 'status'})[:size])
        assert alive(supervisor)
    assert alive(supervisor)


def test_requests_are_answered_in_order(supervisor: Supervisor) -> None:
    asked = ['status', 'nonsense', 'list', 'status']
    with connected(supervisor) as sock:
        sock.sendall(b''.join(encode({'op': op}) for op in asked))
        sock.shutdown(socket.SHUT_WR)
        frames, found = FrameReader(1 << 20), []
        while data := sock.recv(1 << 16):
            found += frames.feed(data)
    assert [message['ok'] for message in found] == [True, False, True, True]
    assert 'sessions' in found[2]
    assert found[3]['pid'] == supervisor[1]


def test_who_does_not_read_replies_is_dropped_and_holds_up_nobody(
    supervisor: Supervisor,
) -> None:
    with connected(supervisor) as sock:
        sock.settimeout(0.2)
        request = encode({'op': 'nonsense' * 1000})
        dropped = False
        for _ in range(10_000):
            try:
                sock.sendall(request)
            except OSError:
                dropped = True
                break
        assert dropped
        assert alive(supervisor)


# -- requests --------------------------------------------------------------------------

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**31, 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
owners = st.just('00' * 32)
fields = {
    'pid': odd,
    'masters': st.one_of(odd, st.just([])),
    'slot': odd,
    'epoch': odd,
    'owner': st.one_of(odd, owners, owners, owners),
    'id': odd,
    'ids': st.one_of(odd, st.lists(odd, max_size=3)),
    'capacity': odd,
    'generation': odd,
}
# Not join and leave: with the right pid they end a supervisor, as they should.
operations = ['hello', 'create', 'cancel', 'evict', 'lookup', 'list', 'status', 'room']
requests = st.builds(
    lambda op, rest: {'op': op} | rest,
    st.sampled_from(operations),
    st.fixed_dictionaries({}, optional=fields),
)


@pytest.mark.parametrize('pid', [2**22 + 1, 2**31, 2**70])
def test_a_master_that_cannot_be_is_not_waited_for(
    supervisor: Supervisor, pid: int
) -> None:
    for request in (
        {'op': 'join', 'pid': pid},
        {'op': 'hello', 'pid': 1, 'masters': [pid]},
        {'op': 'leave', 'pid': pid},
    ):
        assert sent(supervisor, encode(request))['ok']
        found = status(supervisor[0])
        assert found is not None
        assert found['masters'] == [os.getpid()]


def refused(supervisor: Supervisor, request: Any) -> bool:
    body = json.dumps(request).encode()
    found = sent(supervisor, frame(body))
    return found is None or (not found['ok'] and bool(found['error']))


@given(some=st.lists(requests, min_size=1, max_size=4))
@quick
def test_requests_of_the_wrong_types_do_no_harm(
    supervisor: Supervisor, some: list[dict[str, Any]]
) -> None:
    with connected(supervisor) as sock:
        for request in some:
            try:
                sock.sendall(frame(json.dumps(request).encode()))
            except ConnectionError:
                break
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass
    assert alive(supervisor)
    with Streams.attach(supervisor[0]) as streams:
        for session in streams.list():
            streams.evict(session['conversation_id'])


NOBODY = '00' * 32


@pytest.mark.parametrize(
    'asked',
    [
        {},
        {'op': None},
        {'op': 'constructor'},
        {'op': '_hello'},
        {'op': '\ud800'},
        {'op': 'hello'},
        {'op': 'hello', 'pid': 1, 'masters': 7},
        {'op': 'hello', 'pid': 'x', 'masters': []},
        {'op': 'hello', 'pid': -1, 'masters': []},
        {'op': 'hello', 'pid': 2**64, 'masters': []},
        {'op': 'hello', 'pid': float('inf'), 'masters': []},
        {'op': 'hello', 'pid': 1, 'masters': [-5]},
        {'op': 'hello', 'pid': 1, 'masters': [], 'slot': 'x', 'epoch': 1},
        {'op': 'hello', 'pid': 1, 'masters': [], 'slot': [], 'epoch': 1},
        {'op': 'join'},
        {'op': 'join', 'pid': float('inf')},
        {'op': 'join', 'pid': float('nan')},
        {'op': 'leave', 'pid': 'x'},
        {'op': 'create', 'owner': NOBODY, 'id': 'c'},
        {'op': 'cancel', 'owner': 'zz', 'id': 'c'},
        {'op': 'cancel', 'owner': '00', 'id': 'c'},
        {'op': 'cancel', 'owner': NOBODY},
        {'op': 'lookup', 'owner': NOBODY, 'ids': 5},
        {'op': 'lookup', 'owner': NOBODY},
    ],
    ids=str,
)
def test_what_is_asked_for_wrongly_is_refused(
    supervisor: Supervisor, asked: dict[str, Any]
) -> None:
    assert refused(supervisor, asked)
    assert alive(supervisor)


@pytest.mark.parametrize(
    'wrong',
    [
        {'id': ''},
        {'id': 'x' * 513},
        {'id': 'a\nb'},
        {'id': '\ud800'},
        {'capacity': 0},
        {'capacity': 4095},
        {'capacity': 2**40},
        {'capacity': -1},
        {'capacity': 'large'},
        {'capacity': 8192.5},
        {'capacity': float('nan')},
        {'capacity': True},
        {'owner': NOBODY[2:]},
        {'owner': None},
    ],
    ids=str,
)
def test_a_stream_that_cannot_be_made_leaves_nothing(
    supervisor: Supervisor, wrong: dict[str, Any]
) -> None:
    hello = {'op': 'hello', 'pid': os.getpid(), 'masters': []}
    request = {'op': 'create', 'owner': NOBODY, 'id': 'c', 'capacity': 8192} | wrong
    with connected(supervisor) as sock:
        sock.sendall(frame(json.dumps(hello).encode()))
        assert reply(sock)['ok']
        sock.sendall(frame(json.dumps(request).encode()))
        assert not reply(sock)['ok']
        sock.sendall(encode({'op': 'list'}))
        assert reply(sock)['sessions'] == []
    assert os.listdir(supervisor[0] / 'sessions') == []


def test_hello_is_said_once(supervisor: Supervisor) -> None:
    hello = encode({'op': 'hello', 'pid': os.getpid(), 'masters': []})
    with connected(supervisor) as sock:
        sock.sendall(hello)
        first = reply(sock)
        sock.sendall(hello)
        assert reply(sock) == {
            'ok': False,
            'error': 'ControlError: hello was said already',
        }
        with connected(supervisor) as other:
            other.sendall(hello)
            assert reply(other)['slot'] != first['slot']


def test_what_the_supervisor_refuses_is_an_error_of_the_caller_s(
    supervisor: Supervisor,
) -> None:
    with pytest.raises(ControlError, match='no such operation'):
        ask(RuntimeDirectory(supervisor[0]), 'nonsense')


# -- who may connect, and how many -----------------------------------------------------


def test_another_user_is_refused(supervisor: Supervisor) -> None:
    if os.geteuid() != 0:
        pytest.skip('only root can be somebody else')
    directory, _ = supervisor
    code = (
        'import os, socket, sys; s = socket.socket(socket.AF_UNIX)\n'
        'os.setgroups([]); os.setgid(65534); os.setuid(65534)\n'
        'try: s.connect(sys.argv[1])\n'
        'except PermissionError: print("no way in"); sys.exit()\n'
        's.settimeout(5)\n'
        'try: s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(100))\n'
        'except ConnectionError: print(b"")\n'
    )
    command = [sys.executable, '-c', code, str(directory / 'supervisor.sock')]
    command.append(encode({'op': 'status'}).hex())

    def tried() -> bytes:
        done = subprocess.run(command, capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert tried() == b'no way in'
    # The doors are opened: now only the credentials are in the way.
    try:
        directory.chmod(0o755)
        (directory / 'supervisor.sock').chmod(0o666)
        assert tried() == b"b''"
    finally:
        directory.chmod(0o700)
        (directory / 'supervisor.sock').chmod(0o600)
    assert alive(supervisor)


def test_many_who_connect_and_say_nothing_hold_up_nobody(
    supervisor: Supervisor,
) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(supervisor))
        assert alive(supervisor)


def test_more_processes_than_there_are_slots_are_refused(
    supervisor: Supervisor,
) -> None:
    hello = encode({'op': 'hello', 'pid': os.getpid(), 'masters': []})
    with ExitStack() as stack:
        slots = []
        for _ in range(64):
            sock = stack.enter_context(connected(supervisor))
            sock.sendall(hello)
            slots.append(reply(sock)['slot'])
        assert sorted(slots) == list(range(64))
        last = stack.enter_context(connected(supervisor))
        last.sendall(hello)
        found = reply(last)
        assert (found['ok'], found['no_room']) == (False, True)
        sock.close()

        def again() -> bool:
            last.sendall(hello)
            return bool(reply(last)['ok'])

        assert wait_until(again)


def test_a_supervisor_out_of_descriptors_serves_whom_it_knows_and_recovers(
    directory: Path,
) -> None:
    prefix = ('prlimit', '--nofile=40')
    with (
        tempfile.TemporaryFile() as log,
        supervised(directory, prefix=prefix, stderr=log) as process,
        Streams.attach(directory) as streams,
    ):
        supervisor = (directory, process.pid)
        streams.connect()
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(connected(supervisor))

            # More than it can take: the last are not served, the first are.
            def out() -> bool:
                return b'cannot accept' in os.pread(log.fileno(), 1 << 16, 0)

            assert wait_until(out)
            assert streams.status()['pid'] == process.pid
            assert not wait_until(lambda: os.fstat(log.fileno()).st_size > 20_000, 0.5)
        with streams.create('c') as producer:
            assert producer.write(b'x')
        assert alive(supervisor)
