"""F50: what decides is measured by a clock that nobody can set, nor a reboot fools."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmstream import Streams, clock
from tests.supervisor.conftest import Start, supervised
from tests.supervisor.test_collecting import finished, there
from tests.support.child import ROOT
from tests.support.leaks import wait_until

DAY_S = 86_400


class Wall:
    """The wall clock of one process.

    Attributes:
        prefix: the command to run that process under.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)
        script = str(ROOT / 'tests/support/stepped.py')
        self.prefix = (sys.executable, script, str(file))

    def step(self, seconds: int) -> None:
        """Set it to so many seconds ahead."""
        aside = self._file.with_suffix('.new')
        aside.write_text(str(seconds))
        aside.rename(self._file)


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    return Wall(tmp_path / 'wall')


@pytest.fixture
def reboot(tmp_path: Path) -> tuple[str, ...]:
    """The command that runs a process as if on another boot of this machine."""
    if os.geteuid() != 0:
        pytest.skip('only root can make namespaces')
    boot_id = tmp_path / 'boot_id'
    boot_id.write_text('01234567-89ab-cdef-0123-456789abcdef\n')
    mount = f'mount --bind {boot_id} /proc/sys/kernel/random/boot_id && exec "$@"'
    back = -(clock.now_ns() // clock.NS // 2)
    own = ('unshare', '-m', '--time', '--boottime', str(back), 'sh', '-c')
    prefix = (*own, mount, 'sh')
    code = 'from shmstream import clock; print(clock.BOOT, clock.now_ns())'
    try:
        seen = subprocess.run(
            [*prefix, sys.executable, '-c', code],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=60,
        )
    except (OSError, subprocess.CalledProcessError) as ex:
        pytest.skip(f'no other boot can be had here: {ex}')
    boot, now_ns = map(int, seen.stdout.split())
    if boot != 0x0123456789ABCDEF or now_ns > clock.now_ns() + back // 2 * clock.NS:
        pytest.skip('a process keeps its clock here')
    return prefix


@pytest.fixture
def attach(directory: Path) -> Iterator[Streams]:
    with Streams.attach(directory) as streams:
        yield streams


def test_f50_a_step_of_the_wall_clock_loses_nothing(
    start: Start, attach: Streams, wall: Wall
) -> None:
    start(prefix=wall.prefix, ttl_s=300, gc_interval_s=0.05)
    finished(attach, 'done')
    wall.step(301)
    assert not wait_until(lambda: there(attach) == [], 0.5)


def test_f50_what_ended_in_the_future_does_not_outlive_its_time(
    start: Start, attach: Streams, wall: Wall
) -> None:
    wall.step(-DAY_S)
    start(prefix=wall.prefix, ttl_s=0.2, gc_interval_s=0.05)
    finished(attach, 'done')
    assert wait_until(lambda: there(attach) == [])


def test_f50_the_oldest_goes_first_whatever_the_wall_clock_said(
    start: Start, attach: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(max_sessions=2)
    with monkeypatch.context() as patched:
        ahead = time.time_ns() + DAY_S * clock.NS
        patched.setattr(time, 'time_ns', lambda: ahead)
        finished(attach, 'first')
    finished(attach, 'second')
    attach.create('third').finish()
    assert there(attach) == ['second', 'third']


@pytest.mark.parametrize(
    ('step', 'ttl_s', 'left'),
    [
        # Down for a moment; for longer than it is kept; and a clock that says nonsense.
        (0, 3600, ['done']),
        (7200, 3600, []),
        (-DAY_S, 3600, ['done']),
        (-DAY_S, 0.2, []),
    ],
)
def test_f50_after_a_reboot_there_is_left_of_the_time_what_the_wall_clock_says(
    directory: Path,
    reboot: tuple[str, ...],
    wall: Wall,
    step: int,
    ttl_s: float,
    left: list[str],
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(supervised(directory, ttl_s=3600))
        with Streams.attach(directory) as streams:
            finished(streams, 'done')
            first.kill()
            first.wait()
        wall.step(step)
        prefix = (*reboot, *wall.prefix)
        stack.enter_context(
            supervised(directory, prefix=prefix, ttl_s=ttl_s, gc_interval_s=0.05)
        )
        with Streams.attach(directory) as streams:
            if left:
                assert not wait_until(lambda: there(streams) != left, 0.5)
            else:
                assert wait_until(lambda: there(streams) == [])
