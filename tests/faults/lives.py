"""What the processes of ``test_lives`` do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from shmstream import ShmstreamError, Streams, SupervisorConfig
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import MAX_SLOTS
from shmstream.supervisor.spawn import start
from tests.support.child import hear, say
from tests.support.leaks import wait_until
from tests.support.supervisor import gone, stop
from tests.support.worker import Worker


def taken(directory: Path) -> int:
    """How many slots of a deployment are in use."""
    table = WorkerTable.attach(directory / 'workers')
    return sum(bool(table.epoch(slot)) for slot in range(MAX_SLOTS))


def live_in_a_namespace(path: str, workers: int) -> None:
    """Be process 1 of a pid namespace, with a supervisor and workers, until killed."""
    directory = RuntimeDirectory(Path(path))
    start(directory, SupervisorConfig(capacity=65536), [os.getpid()])
    results, reports = os.pipe()
    for _ in range(workers):
        # In a namespace of its own every life has the pids of the one before it.
        if not os.fork():
            streams = Streams.attach(path)
            try:
                streams.connect()
                os.write(reports, b'attached\n')
            except ShmstreamError as ex:
                os.write(reports, f'{ex}\n'.encode())
            while True:
                signal.pause()
    with open(results) as lines:
        say([lines.readline().strip() for _ in range(workers)])
    hear()


def be_forked_from(path: str) -> None:
    """Attach, and fork a child that does nothing and lives on; say its pid."""
    with Streams.attach(path) as streams:
        streams.connect()
        child = os.fork()
        if not child:
            while True:
                signal.pause()
        say(child)
        hear()


def hold_a_thread_id(path: str) -> None:
    """Say the id of a thread until told to end."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    say(thread.native_id)
    hear()
    ended.set()
    thread.join()


def _mount(*arguments: str | Path) -> None:
    subprocess.run(['mount', *map(str, arguments)], check=True)


def _read_only(path: Path) -> None:
    # Over itself: nobody has a file open for writing by way of the new mount.
    _mount('--bind', path, path)
    _mount('-o', 'remount,bind,ro', path)


def _told(log: Path) -> dict[str, Any]:
    text = log.read_text()
    lines = [line for line in text.splitlines() if ': cannot be removed:' in line]
    return {'tracebacks': text.count('Traceback'), 'lines': lines}


def attach_with_read_only_semaphores(folder: str) -> None:
    """Attach in vain, again and again, where no semaphore can be made."""
    place, log = Path(folder) / 'place', Path(folder) / 'log'
    path = place / 'run'
    _mount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', Path('/dev/shm'))
    place.mkdir()
    _mount('-t', 'tmpfs', '-o', 'size=8m,nr_inodes=40', 'tmpfs', place)
    supervisor = _supervise(path, log)
    with Worker(path, deployed=False) as first, Streams.attach(path) as streams:
        # Its bell is there: when nothing can be written, it cannot be removed.
        first.order('attached')
        _read_only(Path('/dev/shm'))
        # Nor a pipe that would stand in for it.
        fill = _take_inodes(path)
        refused = set()
        for _ in range(5):
            try:
                streams.connect()
            except ShmstreamError as ex:
                refused.add(f'{type(ex).__name__}: {ex}')
        say({'refused': sorted(refused), 'taken': taken(path)})
        for file in fill:
            file.unlink()
    wait_until(lambda: not taken(path))
    left = taken(path)
    _end(supervisor)
    say({'taken': left, 'gone': not path.exists(), **_told(log)})


def _take_inodes(path: Path) -> list[Path]:
    """Make files until there can be no more; returns them."""
    made: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            file = path / f'fill-{len(made)}'
            file.touch()
            made.append(file)
    return made


def end_in_a_read_only_directory(folder: str) -> None:
    """Have streams expire and be aborted where no file can be touched."""
    path, log = Path(folder) / 'run', Path(folder) / 'log'
    path.mkdir(mode=0o700)
    _mount('-t', 'tmpfs', '-o', 'size=8m,mode=700', 'tmpfs', path)
    supervisor = _supervise(path, log, ttl_s=0.01, gc_interval_s=0.1)
    with Worker(path, deployed=False) as worker:
        worker.create('live')
        for number in range(3):
            worker.create(f'c{number}')
        table = WorkerTable.attach(path / 'workers')
        _read_only(path)
        for number in range(3):
            worker.order('finish', f'c{number}')
        expired = wait_until(lambda: len(worker.order('sessions')) == 1)
        say({'expired': expired, 'wrote': worker.order('write', 'live', 'x')})
        # Some rounds of every timer.
        before = table.room_sequence
        wait_until(lambda: table.room_sequence > before + 15, 30)
    _end(supervisor)
    say(_told(log))


def _supervise(path: Path, log: Path, **settings: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, '-m', 'shmstream.supervisor', '--directory', str(path)]
    command += ['--config', json.dumps({'capacity': 65536} | settings)]
    with log.open('wb') as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    assert wait_until((path / 'supervisor.sock').exists, 30)
    return process


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(30) == 0


def live_on_a_small_file_system(folder: str) -> None:
    """Fill some of 64 MiB with streams, kill the supervisor, and go on."""
    path = Path(folder)
    _mount('-t', 'tmpfs', '-o', 'size=64m,mode=700', 'tmpfs', path)
    with Streams.attach(path / 'run', supervise=SupervisorConfig()) as streams:
        streams.connect()
        live = streams.create('live')
        for number in range(6):
            with streams.create(f'c{number}') as producer:
                for _ in range(4):
                    producer.write(bytes(1 << 20))
        before = streams.status()
        there = len(streams.list())
        os.kill(before['pid'], signal.SIGKILL)
        wait_until(lambda: gone(before['pid']))
        after = streams.status()
        found = len(streams.list())
        wrote = live.write(bytes(1 << 20))
        say(
            {
                'limits': [before['max_memory'], after['max_memory']],
                'another': before['pid'] != after['pid'],
                'there': [there, found],
                'wrote': wrote,
            }
        )
        live.finish()
        supervisor = after['pid']
    stop(supervisor)
