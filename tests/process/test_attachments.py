"""Processes: who writes and who reads, forks, and what attaching costs and leaves."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shmstream import State, StreamNotFound, Streams, SupervisorUnavailable
from shmstream.process import attachment
from tests.api import actors
from tests.support.child import ROOT, Child
from tests.support.leaks import wait_until
from tests.support.service import fresh_directory


@pytest.fixture
def directory(streams: Streams) -> Path:
    """The runtime directory of the module's deployment."""
    return streams._process.directory.path


def test_the_reader_and_the_producer_are_different_processes(
    directory: Path, streams: Streams, conv_id: str
) -> None:
    with Child(actors.read_pid, directory, conv_id) as reader:
        assert reader.hear() == 'ready'
        with Child(actors.tell_pid, directory, conv_id) as writer:
            assert writer.hear() == writer.pid
        reader.say('go')
        found = reader.hear()
        assert found['events'] == 100
        assert found['writers'] == [writer.pid]
        assert found['reader'] == reader.pid
    # Here is a third, and none of them did it in a thread.
    assert len({writer.pid, reader.pid, os.getpid()}) == 3
    assert b'data: %d 99' % writer.pid in streams.open(conv_id).read()


# -- forks -----------------------------------------------------------------------------


def test_a_forked_child_has_its_own_part_and_leaves_the_parent_s_alone(
    directory: Path, streams: Streams
) -> None:
    with Child(actors.fork_and_go_on, directory) as parent:
        found = parent.hear()
    assert found == {
        'child': 0,
        'child read': 'child',
        'listeners before': 1,
        'listeners after': 1,
        'wrote': True,
        'next': 'two',
        'rest': '',
        'same': True,
        'state': 'live',
    }
    assert streams.open('parent').state is State.COMPLETE


def test_a_stream_ends_with_its_producer_though_a_child_of_it_lives(
    directory: Path, streams: Streams
) -> None:
    """A fork inherits the descriptor that holds the lock; it must not keep it."""
    with Child(actors.fork_and_die, directory) as parent:
        child = parent.hear()
        try:
            parent.kill()
            consumer = streams.open('c')
            assert wait_until(lambda: consumer.state is State.ABORTED, 5)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    'actor',
    [
        actors.write_in_the_child,
        actors.fork_while_a_thread_writes,
        actors.fork_without_the_streams,
    ],
)
def test_a_forked_child_cannot_write_its_parent_s_stream(
    directory: Path, streams: Streams, actor: Callable[[str], None]
) -> None:
    with Child(actor, directory) as parent:
        assert parent.hear() == {'wrote': 0, 'data': 'parent parent'}


def test_a_forked_child_leaves_its_parent_s_stream_whoever_looked_at_it(
    directory: Path, streams: Streams
) -> None:
    with Child(actors.fork_while_a_thread_looks, directory) as parent:
        assert parent.hear() == {'child': 0, 'state': 'live'}


# -- attaching and leaving -------------------------------------------------------------


def test_one_process_may_attach_twice_and_takes_part_once(
    directory: Path, streams: Streams, conv_id: str
) -> None:
    with Streams.attach(directory) as again:
        again.connect()
        assert again._process is streams._process
        producer = again.create(conv_id)
        producer.write(b'x')
        ours, theirs = (s.open(conv_id).follow() for s in (streams, again))
        assert next(ours) == next(theirs) == b'x'
        assert producer.followers == 2
        producer.finish()
        assert list(ours) == list(theirs) == []
    assert streams.status()['sessions'] > 0
    assert streams.open(conv_id).read() == b'x'


def test_closing_leaves_no_thread_and_may_be_done_twice(
    directory: Path, streams: Streams
) -> None:
    with Child(actors.close_twice, directory) as child:
        assert child.hear() == [1, 1, 2, 1, 1, True, 2, 1]


def test_streams_are_closed_one_by_one_and_the_last_takes_the_thread_with_it(
    directory: Path, streams: Streams
) -> None:
    with Child(actors.close_one_by_one, directory) as child:
        found = child.hear()
    assert found == {
        'threads': [2, 2, 1],
        'first': 'aborted',
        'cut': 'FollowCut',
        'second': 'complete',
        'rest': 'x and more',
    }


@pytest.mark.parametrize('collects', [True, False])
@pytest.mark.parametrize('forks', [True, False])
def test_two_hundred_that_are_attached_used_and_dropped_leave_nothing(
    directory: Path, streams: Streams, collects: bool, forks: bool
) -> None:
    """Neither slot, thread nor descriptor; and 64 at once take one slot together."""
    with Child(actors.attach_and_drop, directory, collects, forks) as child:
        found = child.hear()
        assert found['slots at once'] == 1
        assert found['threads at once'] == 2
        assert found['settled'], found
    assert streams.open('dropped').state is State.ABORTED


def test_what_never_took_a_slot_is_forgotten_with_its_last_user(
    tmp_path: Path,
) -> None:

    def known() -> list[object]:
        return [entry() for entry in attachment._processes.values() if entry()]

    gc.collect()
    gc.disable()
    try:
        before = len(known())
        for number in range(3):
            streams = Streams.attach(tmp_path / str(number))
            assert streams.followers == 0
            assert len(known()) == before + 1
            del streams
            assert len(known()) == before
        assert len(attachment._processes) <= before + 1
    finally:
        gc.enable()


def test_a_process_that_ends_without_closing_ends_well(
    directory: Path, streams: Streams
) -> None:
    with Child(actors.leave_without_closing, directory) as child:
        assert child.hear() == 'ready'
        child.say('go')
        assert child.wait() == 0
    assert wait_until(lambda: streams.open('c').state is State.ABORTED)


def counts(code: str, directory: Path) -> list[str]:
    """Run code in a new interpreter; what it prints."""
    command = [sys.executable, '-X', 'dev', '-c', code, str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b''
    return done.stdout.decode().split()


LOOK = """
import os, sys, threading

def look():
    tasks = len(os.listdir('/proc/self/task'))
    print(tasks, len(os.listdir('/proc/self/fd')), len(threading.enumerate()))

"""


def test_importing_and_attaching_start_and_open_nothing(directory: Path) -> None:
    code = LOOK + (
        'import asyncio; look()\n'
        'import shmstream; look()\n'
        'streams = shmstream.Streams.attach(sys.argv[1], supervise=True); look()\n'
        'streams.close(); look()\n'
    )
    nowhere = fresh_directory()
    found = counts(code, nowhere)
    assert found == found[:3] * 4
    assert not nowhere.exists()


def test_a_process_with_a_supervisor_of_its_own_leaves_without_a_word(
    tmp_path: Path,
) -> None:
    directory = fresh_directory()
    code = (
        'import sys, shmstream\n'
        'streams = shmstream.Streams.attach(sys.argv[1], supervise=True)\n'
        'streams.connect()\n'
        "streams.create('c').write(b'x')\n"
        'print(streams.status()["sessions"])\n'
    )
    assert counts(code, directory) == ['1']
    assert wait_until(lambda: not directory.exists())


def test_a_directory_that_is_refused_is_refused_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o755)
    with (
        Streams.attach(tmp_path, supervise=True) as streams,
        pytest.raises(SupervisorUnavailable, match='see its log'),
    ):
        streams.connect()
    assert capfd.readouterr().err.count('chmod 700') == 1


def test_without_a_supervisor_there_is_a_clear_error() -> None:
    nowhere = fresh_directory()
    with Streams.attach(nowhere) as streams:
        with pytest.raises(SupervisorUnavailable, match=str(nowhere)):
            streams.create('c')
        with pytest.raises(StreamNotFound):
            streams.open('c')
    assert not nowhere.exists()
