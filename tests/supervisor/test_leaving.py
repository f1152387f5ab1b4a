"""A supervisor goes with its last master, and takes everything with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import posix_ipc
import pytest

from shmstream import Streams
from shmstream.control.request import ask
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.saved_config import load
from tests.supervisor.conftest import Hire, Start, serving, status, supervised
from tests.support.child import ROOT
from tests.support.leaks import SHM, semaphores, wait_until
from tests.support.supervisor import gone, stop
from tests.support.worker import OrderFailed


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process to be a master."""
    process = subprocess.Popen(['sleep', '60'])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def doorbells(directory: Path) -> list[str]:
    """Names of semaphores that stay true once the worker table has gone."""
    return semaphores(directory)


def is_clean(directory: Path, names: list[str]) -> bool:
    return not directory.exists() and not any((SHM / name).exists() for name in names)


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_it_leaves_when_its_master_dies_and_takes_everything_with_it(
    directory: Path, start: Start, hire: Hire, how: signal.Signals
) -> None:
    with sleeper() as master:
        process = start(masters=[master.pid])
        producer, reader = hire(deployed=False), hire(deployed=False)
        producer.create('c')
        producer.order('write', 'c', 'data: x\n\n')
        reader.follow('c')
        assert wait_until(lambda: reader.order('followed_to', 'c') > 0)
        names = doorbells(directory)
        assert len(names) == 2
        master.send_signal(how)
        # Nobody waits for the master here: a zombie is as dead as can be.
        assert process.wait(10) == 0
        assert is_clean(directory, names)
        # What it took with it has been cancelled: nobody follows or writes for ever.
        assert reader.followed('c')['data'] == 'data: x\n\n'
        assert wait_until(lambda: not producer.order('write', 'c', 'data: y\n\n'))


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_without_a_master_it_leaves_when_it_is_told_to(
    directory: Path, start: Start, hire: Hire, number: signal.Signals
) -> None:
    process = start(masters=[])
    worker = hire(deployed=False)
    worker.create('c')
    names = doorbells(directory)
    process.send_signal(number)
    assert process.wait(10) == 0
    assert is_clean(directory, names)


def test_with_a_master_it_stays_though_all_processes_are_signalled(
    directory: Path, start: Start
) -> None:
    with sleeper() as master:
        process = start(masters=[master.pid])
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        assert serving(directory) == process.pid
        master.terminate()
        assert process.wait(10) == 0
    assert not directory.exists()


def test_it_stays_for_the_master_that_joined_later(
    directory: Path, start: Start
) -> None:
    with sleeper() as first, sleeper() as second:
        process = start(masters=[first.pid])
        where = RuntimeDirectory(directory)
        ask(where, 'join', pid=second.pid)
        assert ask(where, 'status')['masters'] == sorted([first.pid, second.pid])
        first.kill()
        assert wait_until(lambda: ask(where, 'status')['masters'] == [second.pid])
        ask(where, 'leave', pid=second.pid)
        assert process.wait(10) == 0
    assert not directory.exists()


def test_who_leaves_without_having_joined_changes_nothing(
    directory: Path, start: Start
) -> None:
    start()
    with sleeper() as other:
        ask(RuntimeDirectory(directory), 'leave', pid=other.pid)
    assert serving(directory)


def test_a_master_that_is_dead_already_keeps_nobody(directory: Path) -> None:
    with sleeper() as master:
        pass
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory), '--master', str(master.pid)]
    assert subprocess.run(command, cwd=ROOT, timeout=20).returncode == 0
    assert not directory.exists()


def test_a_library_s_supervisor_leaves_with_its_process(directory: Path) -> None:
    code = (
        'import os, signal, sys; from shmstream import Streams;'
        's = Streams.attach(sys.argv[1], supervise=True);'
        "s.connect(); s.create('c').write(b'x'); print(s.status()['pid'], flush=True);"
        'os.kill(os.getpid(), signal.SIGKILL)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(directory)],
        cwd=ROOT,
        capture_output=True,
        timeout=20,
    )
    assert done.returncode == -signal.SIGKILL
    assert wait_until(lambda: gone(int(done.stdout)))
    assert not directory.exists()


def test_a_second_supervisor_ends_at_once(directory: Path, start: Start) -> None:
    first = start()
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory)]
    done = subprocess.run(command, cwd=ROOT, timeout=20, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b'')
    assert serving(directory) == first.pid


def test_who_finds_the_lock_taken_leaves_no_trace(directory: Path) -> None:
    """As it is when a supervisor has cleaned up, but for the lock, which goes last."""
    directory.mkdir(mode=0o700)
    with (directory / 'supervisor.lock').open('wb') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, '-m', 'shmstream.supervisor']
        command += ['--directory', str(directory), '--master', str(os.getpid())]
        done = subprocess.run(command, cwd=ROOT, timeout=20)
        found = os.listdir(directory)
    shutil.rmtree(directory)
    assert (done.returncode, found) == (0, ['supervisor.lock'])


def test_of_many_that_start_at_once_one_serves(directory: Path, start: Start) -> None:
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory), '--master', str(os.getpid())]
    many = [subprocess.Popen(command, cwd=ROOT) for _ in range(6)]
    pid = serving(directory)
    try:
        losers = [process for process in many if process.pid != pid]
        assert [process.wait(20) for process in losers] == [0] * 5
        assert serving(directory) == pid
    finally:
        stop(pid)
        for process in many:
            process.wait(10)
    assert not directory.exists()


def test_a_directory_that_was_there_before_is_left_there(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / 'mine').write_text('x')
    with supervised(directory):
        pass
    assert [path.name for path in directory.iterdir()] == ['mine']
    shutil.rmtree(directory)


def test_its_settings_are_refused_in_one_line(directory: Path) -> None:
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory), '--config', '{"sessions": 3}']
    done = subprocess.run(command, cwd=ROOT, timeout=20, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b'shmstream supervisor: ')
    assert done.stderr.count(b'\n') == 1


# -- leftovers -------------------------------------------------------------------------


def test_the_life_after_a_crash_of_everything_begins_clean(
    directory: Path, start: Start, hire: Hire
) -> None:
    """The supervisor and all workers are killed; a new supervisor starts."""
    first = start()
    workers = [hire(deployed=False) for _ in range(2)]
    for conv_id in ('complete', 'live'):
        workers[0].create(conv_id)
        workers[0].order('write', conv_id, 'data: x\n\n')
    workers[0].order('finish', 'complete')
    workers[1].order('attached')
    names = doorbells(directory)
    assert len(names) == 2
    first.kill()
    first.wait()
    for worker in workers:
        worker.kill()
    # As it was when a supervisor died while it made a session.
    half_made = directory / 'sessions' / '.new-0123456789abcdef'
    half_made.write_bytes(bytes(100))
    assert doorbells(directory) == names

    start()
    assert not half_made.exists()
    with Streams.attach(directory) as streams:
        complete, live = streams.open('complete'), streams.open('live')
        assert (complete.read(), complete.state.label) == (b'data: x\n\n', 'complete')
        assert wait_until(lambda: live.state.label == 'aborted', 5)
        assert b'has died' in live.read(9)
        assert {s['conversation_id'] for s in streams.list()} == {'complete', 'live'}
        # Those who do not come back within some seconds are dead.
        assert wait_until(lambda: not any((SHM / name).exists() for name in names))
        assert len(doorbells(directory)) == 1


def test_what_belongs_to_others_is_spared(directory: Path, start: Start) -> None:
    other = directory.with_name(f'{directory.name}-other')
    stranger = f'/shmstream-{secrets.token_hex(8)}-{secrets.token_hex(8)}'
    posix_ipc.Semaphore(stranger, posix_ipc.O_CREX, mode=0o600).close()
    try:
        with supervised(other), Streams.attach(other) as streams:
            producer = streams.create('c')
            names = doorbells(other)
            crashed = start()
            crashed.kill()
            crashed.wait()
            stop(start().pid)
            assert doorbells(other) == names != []
            assert producer.write(b'x')
            assert (SHM / f'sem.{stranger[1:]}').exists()
        assert not other.exists()
    finally:
        posix_ipc.unlink_semaphore(stranger)


def test_a_worker_table_that_is_none_is_left_alone(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / 'workers').write_bytes(b'?' * 100)
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory)]
    done = subprocess.run(command, cwd=ROOT, timeout=20, capture_output=True)
    assert done.returncode == 1
    assert b"somebody else's" in done.stderr
    assert (directory / 'workers').read_bytes() == b'?' * 100
    shutil.rmtree(directory)


def test_a_successor_is_started_with_its_predecessor_s_settings(
    directory: Path, start: Start, hire: Hire
) -> None:
    start(max_sessions=3, ttl_s=12.5).kill()
    assert wait_until(lambda: status(directory) is None)
    worker = hire()

    def attached() -> bool:
        # On a busy machine a successor takes longer than one request waits for it.
        with contextlib.suppress(OrderFailed):
            worker.order('attached')
            return True
        return False

    assert wait_until(attached)
    assert load(directory / 'supervisor.json').ttl_s == 12.5
    assert ask(RuntimeDirectory(directory), 'status')['max_sessions'] == 3
