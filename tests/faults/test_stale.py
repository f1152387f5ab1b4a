"""Out of date: producers, pids and files that something else has outlived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmstream import StreamNotFound, Streams, SupervisorConfig
from shmstream.ids import NOBODY, digest
from shmstream.memory.worker_table import WorkerTable
from tests.support.child import Child, hear, say
from tests.support.frozen import freeze
from tests.support.leaks import wait_until
from tests.support.supervisor import gone, stop
from tests.support.unshare import needs_unshare
from tests.support.worker import OrderFailed, Worker, line


def lines(text: str) -> int:
    """How many events there are; fails unless they are the first ones, in order."""
    count = len(text) // len(line(0))
    assert text.encode() == b''.join(map(line, range(count)))
    return count


def test_f11_a_producer_that_slept_through_its_replacement_reaches_nobody(
    directory: Path, streams: Streams
) -> None:
    """1. A producer is stopped. 2. Another replaces it. 3. It wakes up and writes on.

    Result: its bytes are in nobody's stream, and it learns that it is over.
    """
    with Worker(directory, deployed=False) as old:
        replaced = old.create('c')
        old.order('stream', 'c', 0.0005)
        theirs = streams.open('c')
        assert wait_until(lambda: theirs.total_bytes > 1000)
        freeze(old.pid)
        try:
            new = streams.create('c')
            new.write(b'new')
            seen = theirs.total_bytes
        finally:
            os.kill(old.pid, signal.SIGCONT)
        written = old.order('join', 'c')
        new.finish()
        assert b''.join(streams.open('c').follow()) == b'new'
        # It may have been within a write; after that there was none.
        assert seen <= theirs.total_bytes <= seen + len(line(0))
        assert theirs.total_bytes == written * len(line(0))
        assert (theirs.generation, theirs.state.label) == (replaced, 'cancelled')


@pytest.mark.parametrize('size', [4096, 4096 + 65535, 4096 + 65537])
def test_f21_a_file_that_somebody_resized_is_refused_and_can_be_replaced(
    directory: Path, streams: Streams, size: int
) -> None:
    """Before it is mapped: to cut what is mapped is fatal to who touches it."""
    with streams.create('c') as producer:
        producer.write(b'data: x\n\n')
    os.truncate(directory / 'sessions' / digest(NOBODY, 'c'), size)
    with Worker(directory, deployed=False) as other:
        for _ in range(2):
            with pytest.raises(OrderFailed, match='LayoutMismatch'):
                other.order('state', 'c')
        other.create('c')
        assert other.order('write', 'c', 'again')
        assert streams.open('c').read() == b'again'


def produce_in_a_namespace(directory: str) -> None:
    """Produce as process 1 of a pid namespace, until killed."""
    streams = Streams.attach(directory)
    producer = streams.create('c')
    producer.write(b'data: x\n\n')
    say(os.getpid())
    hear()


@needs_unshare
def test_f23_a_producer_in_another_pid_namespace_lives_and_dies_as_any_other(
    directory: Path, streams: Streams
) -> None:
    """Its pid means nothing here: what counts is whether its lock is held."""
    apart = ('unshare', '--pid', '--fork', '--kill-child')
    with Child(produce_in_a_namespace, directory, prefix=apart) as child:
        assert child.hear() == 1
        consumer = streams.open('c')
        # Longer than the supervisor takes to look for the dead: streams are made.
        for number in range(20):
            streams.create(f'c{number}').finish()
        assert consumer.state.label == 'live'
        child.kill()
    assert wait_until(lambda: consumer.state.label == 'aborted')
    assert b'"error"' in b''.join(consumer.follow())


def test_f23_leftovers_that_name_a_living_process_keep_nobody_out(
    directory: Path,
) -> None:
    """1. Everything is killed. 2. The pids that it left are those of others now."""
    command = [sys.executable, '-m', 'shmstream.supervisor', '--directory']
    command += [str(directory), '--config', json.dumps({'capacity': 65536})]
    first = subprocess.Popen([*command, '--master', str(os.getpid())])
    with Streams.attach(directory) as streams:
        assert wait_until((directory / 'supervisor.sock').exists)
        with Worker(directory, deployed=False) as worker:
            worker.create('c')
            first.kill()
            first.wait()
            worker.kill()
        # As if the kernel had given the dead worker's pid to us.
        table = WorkerTable.attach(directory / 'workers')
        table.take(0, table.epoch(0), os.getpid())
        second = subprocess.Popen([*command, '--master', str(os.getpid())])
        assert wait_until(lambda: streams_are_served(streams))
        # Its streams are those of a dead producer all the same.
        assert wait_until(lambda: streams.open('c').state.label == 'aborted')
        with streams.create('c') as producer:
            assert producer.write(b'x')
    stop(second.pid)
    second.wait()
    assert gone(first.pid)


def streams_are_served(streams: Streams) -> bool:
    try:
        streams.connect()
    except Exception:
        return False
    return True


@pytest.fixture
def hasty(directory: Path) -> Iterator[Streams]:
    """A deployment in which what has ended goes at once."""
    config = SupervisorConfig(capacity=65536, ttl_s=0.001, gc_interval_s=0.001)
    with ExitStack() as stack:
        streams = Streams.attach(directory, supervise=config)
        streams.connect()
        # Last of all: who is still attached would start another.
        stack.callback(stop, streams.status()['pid'])
        yield stack.enter_context(streams)


def test_f36_a_stream_that_expires_as_it_is_opened_is_whole_or_not_found(
    directory: Path, hasty: Streams
) -> None:
    """It is collected at any moment of an attach, a read, or a follow."""
    text = b'data: %d\n\n' * 100
    outcomes = {'whole': 0, 'not found': 0}

    def look(number: int) -> None:
        try:
            consumer = hasty.open(f'c{number}')
            assert b''.join(consumer.follow()) == text % ((number,) * 100)
            outcomes['whole'] += 1
        except StreamNotFound:
            outcomes['not found'] += 1

    for number in range(400):
        with hasty.create(f'c{number}') as producer:
            producer.write(text % ((number,) * 100))
        while outcomes['not found'] <= number:
            look(number)
    assert outcomes['whole'] > 100
    # What was still mapped as it went is removed once it has been let go of.
    del producer
    assert wait_until(lambda: not list((directory / 'sessions').iterdir()))
