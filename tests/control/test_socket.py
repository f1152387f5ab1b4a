"""The control socket: whatever comes in, the supervisor stays and serves the rest."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shmstream import Streams, SupervisorUnavailable
from shmstream.control import request
from shmstream.control.request import ask
from shmstream.control.wire import MAX_REQUEST, FrameReader, encode
from shmstream.memory.directory import RuntimeDirectory
from tests.supervisor.conftest import supervised
from tests.supervisor.raw import Supervisor, alive, connected, frame, reply, sent
from tests.support.frozen import freeze
from tests.support.leaks import wait_until

quick = settings(deadline=None, print_blob=True, max_examples=60)


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
        mode = directory.stat().st_mode
        directory.chmod(0o755)
        (directory / 'supervisor.sock').chmod(0o666)
        assert tried() == b"b''"
    finally:
        directory.chmod(mode)
        (directory / 'supervisor.sock').chmod(0o600)
    assert alive(supervisor)


def test_many_who_connect_and_say_nothing_hold_up_nobody(
    supervisor: Supervisor,
) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(supervisor))
        assert alive(supervisor)


class FirstWait:
    """The time, for one module; does something when that module first waits."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, then: Callable[[], None]) -> None:
        self._then: Callable[[], None] | None = then

    def sleep(self, seconds: float) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()
        time.sleep(seconds)


def test_who_finds_the_queue_full_waits_for_a_place_in_it(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor is busy: that is not the same as no supervisor."""
    directory, pid = supervisor
    with ExitStack() as stack:
        freeze(pid)
        stack.callback(os.kill, pid, signal.SIGCONT)
        failed = 0
        while not failed:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            failed = sock.connect_ex(str(directory / 'supervisor.sock'))
        assert failed == errno.EAGAIN
        with pytest.raises(SupervisorUnavailable):
            ask(RuntimeDirectory(directory), 'status', reply_s=0.1)
        goes_on = FirstWait(lambda: os.kill(pid, signal.SIGCONT))
        monkeypatch.setattr(request, 'time', goes_on)
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
