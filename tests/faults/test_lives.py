"""One life of a deployment after another, and what each must not leave to the next."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shmstream import Streams, SupervisorConfig
from shmstream.control.request import ask
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.slot_locks import SlotLock
from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor.saved_config import load
from tests.faults import lives
from tests.faults.lives import taken
from tests.supervisor.conftest import serving, supervised
from tests.support.child import ROOT, Child
from tests.support.frozen import freeze
from tests.support.leaks import SHM, LeakGuard, processes, semaphores, wait_until
from tests.support.supervisor import gone, stop
from tests.support.unshare import needs_unshare
from tests.support.worker import Worker


def start_over(directory: Path) -> None:
    """Live once more, and leave in order: nothing must be left then."""
    with Streams.attach(directory, supervise=SupervisorConfig(capacity=65536)) as last:
        # The first request would wait for a supervisor for less time than ``connect``.
        last.connect()
        pid = last.status()['pid']
    stop(pid)


# -- slots (F47) -----------------------------------------------------------------------


@needs_unshare
def test_f47_hard_restarts_of_a_container_on_a_volume_leak_no_slot(
    directory: Path, guard: LeakGuard
) -> None:
    """Each life of ten workers ends by SIGKILL, and the next has the same pids."""
    apart = ('unshare', '--pid', '--fork', '--kill-child')
    for _ in range(7):
        with Child(lives.live_in_a_namespace, directory, 10, prefix=apart) as child:
            assert child.hear() == ['attached'] * 10
            assert taken(directory) == 10
            names = semaphores(directory)
            assert len(names) == 10
            guard.note()
            child.kill()
        # What the kernel has not ended yet would be met by the next life.
        assert wait_until(lambda: not processes(str(directory)))
    start_over(directory)


def test_f47_a_stale_pid_that_is_a_threads_keeps_no_slot_and_stops_no_timer(
    directory: Path,
) -> None:
    """1. A worker stays. 2. Another has died, and its pid is that of a thread now."""
    with Child(lives.hold_a_thread_id, directory) as thread:
        number = thread.hear()
        with supervised(directory) as first, Worker(directory) as worker:
            stays = worker.order('attached')
            first.kill()
            first.wait()
            table = WorkerTable.attach(directory / 'workers')
            table.take(5, 0xABC, number)
            serving(directory, but=first.pid)
            assert wait_until(lambda: not table.epoch(5))
            # What stands behind it is done still.
            before = table.room_sequence
            assert wait_until(lambda: table.room_sequence > before + 10)
            assert worker.order('attached') == stays
        thread.say('end')


def test_f47_the_slot_of_one_that_lives_is_never_given_to_another(
    directory: Path,
) -> None:
    """1. Its connection is cut. 2. Others come. 3. It comes back, and has it still."""
    with supervised(directory) as first, Worker(directory) as worker:
        before = worker.order('attached')
        freeze(worker.pid)
        try:
            first.kill()
            first.wait()
            # As if its pid meant nothing here: another namespace's, or none.
            table = WorkerTable.attach(directory / 'workers')
            table.take(before['slot'], before['epoch'], (1 << 22) + 1)
            with supervised(directory), Worker(directory, deployed=False) as other:
                assert other.order('attached')['slot'] != before['slot']
                sequence = table.room_sequence
                assert wait_until(lambda: table.room_sequence > sequence + 10)
                assert table.epoch(before['slot']) == before['epoch']
                os.kill(worker.pid, signal.SIGCONT)
                assert worker.order('attached') == before
                streams = worker.create('c')
                assert streams
        finally:
            os.kill(worker.pid, signal.SIGCONT)


def test_f47_a_forked_child_that_lives_on_keeps_no_slot(directory: Path) -> None:
    with supervised(directory), Child(lives.be_forked_from, directory) as parent:
        child = parent.hear()
        assert taken(directory) == 1
        parent.kill()
        try:
            assert wait_until(lambda: not taken(directory))
            assert not gone(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_f47_who_was_given_a_slot_that_was_taken_back_finds_it_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / 'workers'
    table = WorkerTable.create(path, made_directory=False)
    table.take(3, 0xABC, 1)
    held = SlotLock(path, table, 3, 0xABC)
    with pytest.raises(BlockingIOError):
        SlotLock(path, table, 3, 0xABC)
    held.release()
    table.take(3, 0xDEF, 1)
    with pytest.raises(ConnectionResetError):
        SlotLock(path, table, 3, 0xABC)
    # The one that has it is not kept from it by the one that has not.
    SlotLock(path, table, 3, 0xDEF).release()
    WorkerTable.create(path, made_directory=False).take(3, 0xDEF, 1)
    with pytest.raises(ConnectionResetError):
        SlotLock(path, table, 3, 0xDEF)


# -- another version's (F54) -----------------------------------------------------------


def leave_a_life(directory: Path, guard: LeakGuard) -> list[str]:
    """Have a deployment killed whole; returns the names of its bells."""
    with supervised(directory) as first, Worker(directory, deployed=False) as worker:
        worker.create('c')
        worker.order('write', 'c', 'x')
        names = semaphores(directory)
        guard.note()
        first.kill()
        first.wait()
        worker.kill()
    assert names
    return names


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open('r+b') as file:
        file.seek(at)
        file.write(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    'another version': partial(overwrite, at=8, data=bytes([9, 0, 0, 0, 7, 0, 0, 0])),
    'no magic': partial(overwrite, at=0, data=b'????????'),
    'blank': lambda path: path.write_bytes(bytes(path.stat().st_size)),
    'empty': lambda path: os.truncate(path, 0),
    'short': lambda path: os.truncate(path, 5000),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_f54_a_table_of_another_version_that_nobody_uses_is_cleaned(
    directory: Path, guard: LeakGuard, damage: str
) -> None:
    names = leave_a_life(directory, guard)
    DAMAGES[damage](directory / 'workers')
    lost = damage in ('blank', 'empty')
    (segment,) = (directory / 'sessions').iterdir()
    # As its version would have it.
    overwrite(segment, 8, b'\x63')
    with Streams.attach(directory, supervise=SupervisorConfig(capacity=65536)) as now:
        now.connect()
        assert now.list() == []
        assert not segment.exists()
        assert lost or not any((SHM / name).exists() for name in names)
        with now.create('c') as producer:
            assert producer.write(b'x')
        supervisor = now.status()['pid']
    stop(supervisor)
    if lost:
        # What nobody can know any more: which bells there were.
        for name in names:
            (SHM / name).unlink()
    assert not directory.exists()


@pytest.mark.parametrize('damage', DAMAGES)
def test_f54_a_table_that_is_in_use_is_refused(directory: Path, damage: str) -> None:
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory), '--master', str(os.getpid())]
    with supervised(directory), Worker(directory, deployed=False) as worker:
        worker.create('c')
        pid = serving(directory)
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: gone(pid))
        table = directory / 'workers'
        kept = table.read_bytes()
        # Its size stays: to cut what is mapped is fatal to who maps it.
        if damage not in ('empty', 'short'):
            DAMAGES[damage](table)
        else:
            overwrite(table, 8, b'\x09')
        done = subprocess.run(command, cwd=ROOT, timeout=20, capture_output=True)
        assert done.returncode == 1
        assert b'processes use it: stop the processes that use it' in done.stderr
        assert done.stderr.count(b'\n') == 1
        assert worker.order('write', 'c', 'x')
        overwrite(table, 0, kept[:64])
        with supervised(directory):
            assert worker.order('finish', 'c') == 'complete'


def test_f54_a_stream_that_is_written_keeps_its_version_s_directory(
    directory: Path, guard: LeakGuard
) -> None:
    """As by a version that locked no slots."""
    leave_a_life(directory, guard)
    DAMAGES['another version'](directory / 'workers')
    (segment,) = (directory / 'sessions').iterdir()
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory), '--master', str(os.getpid())]
    hold = f'flock -n {segment} -c "echo held; read line"'
    with subprocess.Popen(
        hold, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b'held\n'
        done = subprocess.run(command, cwd=ROOT, timeout=20, capture_output=True)
        holder.communicate(b'\n', timeout=20)
    assert done.returncode == 1
    assert b'is being written: stop the processes that use it' in done.stderr
    start_over(directory)


@pytest.mark.parametrize(
    'text',
    [
        b'',
        b'{"ttl_s": ',
        b'\xff\xfe',
        b'[1, 2]',
        b'{"capacity": 65536, "of_a_later_version": [1], "max_sessions": 3}',
        b'{"capacity": "many", "ttl_s": -1, "gc_interval_s": Infinity}',
    ],
)
def test_f54_settings_and_other_leftovers_that_are_of_no_use_keep_nobody_out(
    directory: Path, guard: LeakGuard, text: bytes
) -> None:
    leave_a_life(directory, guard)
    (directory / 'supervisor.json').write_bytes(text)
    for name in ('workers.new', 'supervisor.new', 'sessions/.new-0123456789abcdef'):
        (directory / name).write_bytes(b'half')
    os.mkfifo(directory / 'bell-0123456789abcdef', 0o600)
    with socket.socket(socket.AF_UNIX) as stale:
        (directory / 'supervisor.sock').unlink()
        stale.bind(str(directory / 'supervisor.sock'))
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', str(directory), '--master', str(os.getpid())]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    assert serving(directory) == process.pid
    assert not list(directory.glob('*.new')) + list(directory.glob('bell-*'))
    status: dict[str, Any] = ask(RuntimeDirectory(directory), 'status')
    known = b'max_sessions' in text
    assert status['max_sessions'] == (3 if known else SupervisorConfig().max_sessions)
    # It is whole again, for whoever comes next.
    saved = json.loads((directory / 'supervisor.json').read_text())
    assert saved == load(directory / 'supervisor.json').__dict__
    stop(process.pid)
    _, told = process.communicate(timeout=20)
    assert b'Traceback' not in told


# -- where nothing can be written (F61) ------------------------------------------------


@needs_unshare
def test_f61_without_a_semaphore_no_slot_is_lost_and_the_end_is_in_order(
    tmp_path: Path,
) -> None:
    with Child(
        lives.attach_with_read_only_semaphores, tmp_path, prefix=('unshare', '-m')
    ) as child:
        found = child.hear()
        assert found['refused'] == [
            'NoRoom: no room for a doorbell: Read-only file system'
        ]
        assert found['taken'] == 1
        found = child.hear()
        assert (found['taken'], found['gone']) == (0, True)
        assert not found['tracebacks']
        (line,) = found['lines']
        assert 'semaphore /shmstream-' in line
        assert 'Read-only file system' in line


@needs_unshare
def test_f61_a_directory_that_became_read_only_holds_up_nothing_else(
    tmp_path: Path,
) -> None:
    """As ext4 makes it after an error of its disk."""
    with Child(
        lives.end_in_a_read_only_directory, tmp_path, prefix=('unshare', '-m')
    ) as child:
        assert child.hear() == {'expired': True, 'wrote': True}
        found = child.hear()
    (line,) = found['lines']
    assert 'workers (Read-only file system)' in line
    # The stream that cannot be looked at is told of once, not every second.
    assert found['tracebacks'] <= 1


# -- the limit (F41) -------------------------------------------------------------------


@needs_unshare
def test_f41_a_successor_has_the_limit_that_its_predecessor_had(
    tmp_path: Path,
) -> None:
    with Child(
        lives.live_on_a_small_file_system, tmp_path, prefix=('unshare', '-m')
    ) as child:
        found = child.hear()
    assert found['another']
    before, after = found['limits']
    assert before == after
    assert found['there'] == [7, 7]
    assert found['wrote']


def test_f41_a_limit_lasts_for_a_life_and_no_longer(
    directory: Path, guard: LeakGuard
) -> None:
    """1. A successor is given another. 2. All are killed. 3. The next life is."""
    with (
        Worker(directory, deployed=False) as worker,
        supervised(directory, max_memory=32 << 20) as first,
    ):
        worker.order('attached')
        first.kill()
        first.wait()
        with supervised(directory, max_memory=8 << 20) as second:
            assert limit(directory) == 32 << 20
            guard.note()
            second.kill()
            second.wait()
            worker.kill()
            with supervised(directory, max_memory=8 << 20):
                assert limit(directory) == 8 << 20


def limit(directory: Path) -> int:
    found: int = ask(RuntimeDirectory(directory), 'status')['max_memory']
    return found
