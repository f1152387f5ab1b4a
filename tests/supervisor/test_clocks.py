"""F50: what decides is measured by a clock that nobody can set, nor a reboot fools."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmstream import ControlError, Streams, clock
from shmstream.control.request import ask
from shmstream.memory.directory import RuntimeDirectory
from shmstream.ring.layout import W_ASKED
from shmstream.supervisor.session import Session
from tests.supervisor.conftest import Start, supervised
from tests.supervisor.test_collecting import finished, there
from tests.support.child import ROOT, Child, say
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
        self._ahead = seconds

    def is_seen_by(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether that is what the process sees."""
        seen = self._file.with_suffix('.seen')
        seen.unlink(missing_ok=True)
        process.send_signal(signal.SIGUSR1)
        assert wait_until(seen.exists)
        # The least step is three times as long.
        return abs(float(seen.read_text()) - time.time() - self._ahead) < 100


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


def long_ended(streams: Streams, monkeypatch: pytest.MonkeyPatch, conv_id: str) -> None:
    """Make a stream of an owner of its own that ended a year ago, before this boot."""
    year = 365 * DAY_S * clock.NS
    then = clock.Moment(time.time_ns() - year, 0, clock.BOOT ^ 1)
    producer = streams.create(conv_id, owner=b'x' * 32)
    with monkeypatch.context() as patched:
        patched.setattr(clock, 'moment', lambda: then)
        producer.finish()


@pytest.fixture
def attach(directory: Path) -> Iterator[Streams]:
    with Streams.attach(directory) as streams:
        yield streams


def test_f50_a_step_of_the_wall_clock_loses_nothing(
    start: Start, attach: Streams, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass that collects what is old, after the step, leaves what is not."""
    process = start(prefix=wall.prefix, ttl_s=300, gc_interval_s=0.05)
    finished(attach, 'done')
    wall.step(301)
    assert wall.is_seen_by(process)
    long_ended(attach, monkeypatch, 'old')
    assert wait_until(lambda: 'old' not in there(attach))
    assert there(attach) == ['done']


def test_f50_what_ended_in_the_future_does_not_outlive_its_time(
    start: Start, attach: Streams, wall: Wall
) -> None:
    wall.step(-DAY_S)
    process = start(prefix=wall.prefix, ttl_s=0.2, gc_interval_s=0.05)
    assert wall.is_seen_by(process)
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
    ended = [attach.open(conv_id).completed_at for conv_id in ('first', 'second')]
    assert ended[0] - ended[1] > DAY_S / 2
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def listed() -> list[str]:
        found = ask(RuntimeDirectory(directory), 'list')['sessions']
        return [session['conversation_id'] for session in found]

    with ExitStack() as stack:
        # It collects once, before there is anything.
        first = stack.enter_context(
            supervised(directory, ttl_s=3600, gc_interval_s=1e6)
        )
        with Streams.attach(directory) as streams:
            finished(streams, 'done')
            long_ended(streams, monkeypatch, 'old')
            first.kill()
            first.wait()
        wall.step(step)
        prefix = (*reboot, *wall.prefix)
        second = stack.enter_context(
            supervised(directory, prefix=prefix, ttl_s=ttl_s, gc_interval_s=0.05)
        )
        assert wall.is_seen_by(second)
        # The pass that collects what is old leaves what is not.
        assert wait_until(lambda: 'old' not in listed())
        assert listed() == left or wait_until(lambda: listed() == left)


def _say_refusal(directory: str) -> None:
    say(clock.TIME_SPACE)
    with Streams.attach(directory) as streams:
        for use in (streams.connect, lambda: streams.lookup(['a'])):
            try:
                use()
            except ControlError as ex:
                say(str(ex))


def test_f50_who_reads_another_clock_is_refused(directory: Path, start: Start) -> None:
    """A time namespace of its own shifts what everything is decided by."""
    start()
    shift = ('unshare', '--time', '--boottime', '86400', 'sh', '-c', 'exec "$@"', 'sh')
    with Child(_say_refusal, directory, prefix=shift) as child:
        try:
            there = child.hear()
        except EOFError:
            pytest.skip('only root can make namespaces')
        if there == clock.TIME_SPACE:
            pytest.skip('a process keeps its clock here')
        for _ in range(2):
            assert 'in another time namespace' in child.hear()


def _use_without_boot(directory: str) -> None:
    with Streams.attach(directory, supervise=True) as streams:
        streams.connect()
        producer = streams.create('a')
        producer.write(b'x')
        read = streams.open('a').read().decode()
        again = streams.create('a')
        say([clock.BOOT, read, producer.write(b'y'), streams.evict('a')])
        say(again.write(b'y'))


def test_f50_where_the_boot_is_not_shown_everything_else_works(
    directory: Path,
) -> None:
    mount = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    hidden = ('unshare', '-m', 'sh', '-c', mount, 'sh')
    if subprocess.run([*hidden, 'true'], check=False, capture_output=True).returncode:
        pytest.skip('only root can hide it')
    with Child(_use_without_boot, directory, prefix=hidden) as child:
        assert child.hear() == [0, 'x', False, True]
        assert child.hear() is False
        child.wait()


def test_f50_a_stamp_that_is_still_to_come_is_of_an_earlier_boot(
    start: Start, attach: Streams
) -> None:
    """Where no boot has an id: what is on the disk can be stopped as ever."""
    start()
    segment = attach.create('a')._segment
    session = Session((segment.owner, 'a'), segment.digest, segment)
    asked = segment.asked
    assert session.asked_for_after(asked.now_ns - 1)
    later = asked.now_ns + DAY_S * clock.NS
    segment.words[W_ASKED] = later
    assert not session.asked_for_after(asked.now_ns - 1)
