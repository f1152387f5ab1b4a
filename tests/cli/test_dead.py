"""A deployment that was killed all at once: seen, not stopped, and cleaned away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmstream import Streams, SupervisorConfig
from shmstream.inspection.dead import StillInUse, remains, remove
from shmstream.memory.directory import RuntimeDirectory
from tests.support.child import Child, hear, say
from tests.support.command import Ran, run
from tests.support.leaks import LeakGuard, semaphores, wait_until
from tests.support.service import fresh_directory


def produce(directory: str) -> None:
    """Make a stream that has ended and one that goes on, and wait to be killed."""
    config = SupervisorConfig(capacity=65536)
    with Streams.attach(directory, supervise=config) as streams:
        with streams.create('over') as over:
            over.write(b'data: over\n\n')
        live = streams.create('live')
        live.write(b'data: live\n\n')
        say(streams.status()['pid'])
        hear()


@pytest.fixture
def dead() -> Iterator[Path]:
    """The directory of a deployment whose processes have all been killed."""
    directory = fresh_directory()
    guard = LeakGuard(directory)
    with Child(produce, directory) as child:
        supervisor = child.hear()
        guard.note()
        os.kill(supervisor, signal.SIGSTOP)
        child.kill()
        os.kill(supervisor, signal.SIGKILL)
        assert wait_until(lambda: not os.path.exists(f'/proc/{supervisor}'))
    yield directory
    guard.check()


def on(directory: Path, *arguments: str) -> Ran:
    return run(*arguments, DIR=str(directory))


def test_a_dead_deployment_is_seen_and_cleaned(dead: Path) -> None:
    listed = on(dead, 'ls')
    assert listed.code == 0
    assert 'over' in listed.out
    assert 'nothing runs in' in listed.err
    shown = on(dead, 'show', 'live')
    assert 'the process that wrote it has died' in shown.out
    tailed = on(dead, 'tail', 'live')
    assert (tailed.code, tailed.out) == (3, 'data: live\n\n')
    assert on(dead, 'tail', 'over').code == 0
    assert on(dead, 'stop', 'live').code == 3
    bells = semaphores(dead)
    assert bells
    # Shown first; not without an answer; and then all of it.
    would = on(dead, 'clean', '--dir', str(dead), '--dry-run', '--json').json()
    assert would['directories'][0]['streams'] == 2
    assert on(dead, 'clean', '--dir', str(dead)).code == 2
    assert semaphores(dead) == bells
    done = on(dead, 'clean', '--dir', str(dead), '--yes')
    assert (done.code, done.out.splitlines()[-1]) == (0, 'removed')
    assert not dead.exists()
    assert not any(Path('/dev/shm', name).exists() for name in bells)
    assert on(dead, 'ls').code == 3
    again = on(dead, 'clean', '--dir', str(dead), '--yes')
    assert (again.code, again.out) == (0, 'nothing is left of dead deployments\n')


def test_what_lives_again_is_left_alone(dead: Path) -> None:
    """Between the look and the removal somebody has started there."""
    found = remains(RuntimeDirectory(dead))
    assert found is not None
    with Streams.attach(dead, supervise=True) as streams:
        streams.connect()
        supervisor = streams.status()['pid']
        with pytest.raises(StillInUse):
            remove(found)
        assert remains(RuntimeDirectory(dead)) is None
        # Nor is it removed while the supervisor is dead, but a worker lives.
        os.kill(supervisor, signal.SIGSTOP)
        try:
            assert remains(RuntimeDirectory(dead)) is None
            assert on(dead, 'clean', '--dir', str(dead), '--yes').code == 0
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert streams.open('over').read() == b'data: over\n\n'
    from tests.support.supervisor import stop

    stop(supervisor)


def test_a_named_directory_that_is_refused_is_an_exit_code(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    link = tmp_path / 'link'
    link.symlink_to(tmp_path)
    refused = on(tmp_path, 'clean', '--dir', str(link), '--dry-run')
    assert (refused.code, refused.out) == (4, '')
    assert 'is not a directory' in refused.err
    told = on(tmp_path, 'clean', '--dir', str(link), '--dry-run', '--json')
    assert (told.code, len(told.json()['left_alone'])) == (4, 1)


def test_half_made_counters_and_a_pipe_for_a_table(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / 'counters.new').touch()
    found = on(tmp_path, 'clean', '--dir', str(tmp_path), '--yes')
    assert (found.code, found.out.splitlines()[-1]) == (0, 'removed')
    assert not os.listdir(tmp_path)
    (tmp_path / 'counters').touch()
    os.mkfifo(tmp_path / 'workers')
    # It waits for nobody to write into the pipe.
    assert on(tmp_path, 'clean', '--dir', str(tmp_path), '--dry-run').code == 0
    os.unlink(tmp_path / 'workers')
    (tmp_path / 'workers').symlink_to('counters')
    assert on(tmp_path, 'clean', '--dir', str(tmp_path), '--dry-run').code == 4
