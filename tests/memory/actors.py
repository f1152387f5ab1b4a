"""What the other processes of the memory tests do."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

from shmstream import NoRoom, ShmstreamError, Streams, SupervisorConfig
from shmstream.memory.segment import Segment
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.layout import MAX_SLOTS
from shmstream.ring.ring import RingReader
from tests.memory.segments import create
from tests.support.child import Child, hear, say
from tests.support.supervisor import stop


def hold_lock(address: str) -> None:
    """Receive a locked descriptor, and hold it until told to let go."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        _, fds, _, _ = socket.recv_fds(sock, 1, 1)
    say(Segment.adopt(fds[0]).conv_id)
    while hear() != 'close':
        pass
    os.close(fds[0])
    say('closed')
    hear()


def mount(path: Path, options: str) -> None:
    """Mount a small file system that nobody outside this process sees."""
    path.mkdir(exist_ok=True)
    command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', os.fspath(path)]
    subprocess.run(command, check=True)


def fill(path: Path) -> Path:
    """Take all the room that there is in a folder."""
    filler = path / 'filler'
    with contextlib.suppress(OSError), filler.open('wb', buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def run_out_while_creating(folder: str, options: str) -> None:
    """Create segments until there is no room; the last failure must leave nothing."""
    path = Path(folder)
    mount(path, options)
    made: list[Segment] = []
    try:
        while len(made) < 10_000:
            segment, fd = create(path / f'{len(made)}', capacity=1 << 20)
            made.append(segment)
            os.close(fd)
    except NoRoom as ex:
        say({'made': len(made), 'error': str(ex), 'files': len(os.listdir(path))})
    for index in range(len(made)):
        Segment.attach(path / f'{index}')
    (path / '0').unlink()
    made.clear()
    create(path / 'again', capacity=1 << 20)
    say('again')


def run_out_while_writing(folder: str) -> None:
    """Append until there is no room, then make room and go on."""
    path = Path(folder)
    mount(path, 'size=1m')
    segment, fd = create(path / 'segment', capacity=4 << 20)
    writer, reader = segment_writer(segment, fd), RingReader(segment.view)
    written = 0
    filler = fill(path)
    try:
        while written < 4 << 20:
            writer.append(bytes([written // 1000 % 256]) * 1000)
            written += 1000
    except NoRoom:
        pass
    whole = b''.join(bytes([i % 256]) * 1000 for i in range(written // 1000))
    unchanged = reader.read(0) == whole and reader.total_bytes == written
    last = writer.append_last(b'the end')
    filler.unlink()
    writer.append(b'x' * 100_000)
    goes_on = reader.read(0) == whole + b'the end' + b'x' * 100_000
    say({'written': written, 'unchanged': unchanged, 'last': last, 'goes_on': goes_on})


def run_out_as_a_service(folder: str) -> None:
    """Stream until the file system is full; others must not notice."""
    path = Path(folder)
    mount(path, 'size=2m')
    config = SupervisorConfig(capacity=4 << 20, max_memory=1 << 30)
    with Streams.attach(path / 'run', supervise=config) as streams:
        streams.connect()
        supervisor = streams.status()['pid']
        other = streams.create('other')
        other.write(b'data: kept\n\n')
        greedy = streams.create('greedy')
        # It is opened now: once the stream has ended, it may be evicted at any time.
        reader = streams.open('greedy')
        chunk = b'data: ' + b'x' * 1000 + b'\n\n'
        written = 0
        while greedy.write(chunk):
            written += len(chunk)
        end = reader.read(written)
        say({'written': written, 'state': greedy.state.label, 'end': end.decode()})
        still = other.write(b'data: still\n\n')
        seen = streams.open('other').read(0).decode()
        # Now not even a new stream fits; the one that failed makes room for it.
        fill(path)
        del greedy, reader
        with streams.create('new') as new:
            fits = new.write(bytes(100_000))
        there = [session['conversation_id'] for session in streams.list()]
        other.finish()
        say({'still': still, 'seen': seen, 'fits': fits, 'there': there})
    stop(supervisor)


def attach_without_room_for_a_doorbell(folder: str) -> None:
    """Attach while /dev/shm is full, then when it is not."""
    path = Path(folder)
    mount(Path('/dev/shm'), 'size=64k')
    with Streams.attach(path / 'run', supervise=SupervisorConfig()) as streams:
        filler = fill(Path('/dev/shm'))
        began = time.monotonic()
        try:
            streams.connect()
            refused = None
        except ShmstreamError as ex:
            refused = type(ex).__name__
        say({'refused': refused, 'took': time.monotonic() - began})
        filler.unlink()
        streams.connect()
        table = WorkerTable.attach(path / 'run' / 'workers')
        taken = sum(bool(table.epoch(slot)) for slot in range(MAX_SLOTS))
        with streams.create('c') as producer:
            say({'taken': taken, 'wrote': producer.write(b'x')})
        supervisor = streams.status()['pid']
    stop(supervisor)


def take_part(folder: str) -> None:
    """Connect whenever told to, until told to leave; say what came of it."""
    with Streams.attach(folder) as streams:
        while hear() == 'connect':
            try:
                streams.connect()
                say(None)
            except ShmstreamError as ex:
                say([type(ex).__name__, str(ex)])


def attach_without_room_for_a_board(folder: str) -> None:
    """A second process comes while the file system is full, and when it is not."""
    path = Path(folder)
    mount(path, 'size=1m')
    with (
        Streams.attach(path / 'run', supervise=SupervisorConfig()) as streams,
        Child(take_part, path / 'run') as second,
    ):
        streams.connect()
        table = WorkerTable.attach(path / 'run' / 'workers')

        def taken() -> int:
            return sum(bool(table.epoch(slot)) for slot in range(MAX_SLOTS))

        producer = streams.create('c')
        filler = fill(path)
        second.say('connect')
        say({'refused': second.hear(), 'taken': taken()})
        # Who was there before does not notice.
        wrote = producer.write(b'still')
        filler.unlink()
        second.say('connect')
        say({'wrote': wrote, 'refused': second.hear(), 'taken': taken()})
        producer.finish()
        supervisor = streams.status()['pid']
    stop(supervisor)
