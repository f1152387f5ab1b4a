"""Doorbells: rung across processes, waited for by one thread, taken down in order."""

from __future__ import annotations

import errno
import gc
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import posix_ipc
import pytest

from shmstream import Streams
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.doorbell_thread import NET_S, Doorbell
from shmstream.wakeups.ring_others import Bells
from shmstream.wakeups.semaphore import STEADY, SteadyWait, semaphore_name
from tests.support.dying import Interrupted
from tests.support.leaks import wait_until
from tests.support.stranger import stranger


@pytest.fixture
def name() -> Iterator[str]:
    """A semaphore of our own."""
    name = f'/shmstream-test-{os.getpid()}-{secrets.token_hex(6)}'
    posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600).close()
    yield name
    posix_ipc.unlink_semaphore(name)


def held() -> tuple[int, int, int]:
    """Descriptors, threads and mapped semaphores of this process."""
    gc.collect()
    maps = Path('/proc/self/maps').read_text()
    return (
        len(os.listdir('/proc/self/fd')),
        threading.active_count(),
        maps.count('/dev/shm/sem.'),
    )


class Wakes:
    """Notes each wake-up."""

    def __init__(self, fail: bool = False) -> None:
        self.seen: list[bool] = []
        self.rung = threading.Event()
        self._fail = fail

    def has_rung(self, times: int) -> bool:
        return sum(self.seen) >= times

    def __call__(self, rung: bool) -> float:
        self.seen.append(rung)
        if rung:
            self.rung.set()
            if self._fail:
                raise RuntimeError('a bad wake')
        return NET_S


def started(name: str, wakes: Wakes) -> Doorbell:
    bell = Doorbell(name, wakes)
    bell.start()
    return bell


def test_a_ring_wakes_long_before_the_net(name: str) -> None:
    wakes = Wakes()
    bell = started(name, wakes)
    posix_ipc.Semaphore(name).release()
    assert wakes.rung.wait(5)
    bell.stop()
    assert wakes.seen[0] is True


def test_nobody_sleeps_longer_than_the_net(name: str) -> None:
    wakes = Wakes()
    bell = started(name, wakes)
    assert wait_until(lambda: len(wakes.seen) >= 2)
    bell.stop()
    assert wakes.seen[:2] == [False, False]
    assert NET_S == 0.2


def test_many_rings_are_one_wake(name: str) -> None:
    semaphore = posix_ipc.Semaphore(name)
    for _ in range(5000):
        semaphore.release()
    wakes = Wakes()
    bell = started(name, wakes)
    assert wakes.rung.wait(5)
    assert wait_until(lambda: semaphore.value == 0)
    bell.stop()
    assert sum(wakes.seen) <= 3
    semaphore.close()


def test_a_bad_wake_does_not_end_the_thread(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    wakes = Wakes(fail=True)
    bell = started(name, wakes)
    for number in range(1, 4):
        bell.ring()
        assert wait_until(partial(wakes.has_rung, number))
    bell.stop()
    assert 'a bad wake' in caplog.text


def test_a_doorbell_that_comes_and_goes_leaves_nothing(name: str) -> None:
    started(name, Wakes()).stop()
    before = held()
    for _ in range(200):
        wakes = Wakes()
        bell = started(name, wakes)
        bell.ring()
        bell.stop()
    assert held() == before


def test_a_process_that_comes_and_goes_leaves_nothing(
    directory: Path, streams: Streams
) -> None:
    def come_and_go(number: int) -> None:
        with stranger(directory) as again:
            again.connect()
            if number % 10 == 0:
                with again.create(f'c{number}') as producer:
                    producer.write(b'x')
                assert b''.join(again.open(f'c{number}').follow()) == b'x'

    before = held()
    for number in range(200):
        come_and_go(number)
    # Mappings that nobody uses are kept for a moment.
    assert wait_until(lambda: held()[:2] == before[:2])
    assert held()[2] <= before[2] + 1
    # All of them had the same slot, one after the other.
    table = WorkerTable.attach(directory / 'workers')
    assert sum(table.epoch(slot) != 0 for slot in range(64)) <= 2


# -- ringing ---------------------------------------------------------------------------


@pytest.fixture
def bells(table: WorkerTable) -> Iterator[Bells]:
    bells = Bells(table)
    yield bells
    bells.close()


@pytest.fixture
def worker(table: WorkerTable) -> Iterator[posix_ipc.Semaphore]:
    """The semaphore of a worker in slot 3."""
    table.take(3, 0xAB, os.getpid())
    name = semaphore_name(table.token, 0xAB)
    semaphore = posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600)
    yield semaphore
    semaphore.close()
    posix_ipc.unlink_semaphore(name)


def test_a_slot_s_bell_is_rung(bells: Bells, worker: posix_ipc.Semaphore) -> None:
    bells.ring(3)
    bells.ring(3)
    assert worker.value == 2


def test_an_empty_slot_is_rung_in_vain(bells: Bells) -> None:
    bells.ring(0)


def test_a_worker_whose_semaphore_has_gone_is_rung_in_vain(
    bells: Bells, table: WorkerTable
) -> None:
    table.take(0, 0xCD, os.getpid())
    bells.ring(0)


def test_a_slot_s_next_worker_is_rung_and_not_its_last(
    bells: Bells, table: WorkerTable, worker: posix_ipc.Semaphore
) -> None:
    bells.ring(3)
    table.free(3)
    bells.ring(3)
    table.take(3, 0xEF, os.getpid())
    name = semaphore_name(table.token, 0xEF)
    successor = posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600)
    bells.ring(3)
    assert (worker.value, successor.value) == (1, 1)
    successor.close()
    posix_ipc.unlink_semaphore(name)


def test_a_bell_that_rings_already_as_loud_as_it_can_is_no_error(
    bells: Bells, table: WorkerTable
) -> None:
    table.take(0, 0x11, os.getpid())
    name = semaphore_name(table.token, 0x11)
    most = posix_ipc.SEMAPHORE_VALUE_MAX
    full = posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600, initial_value=most)
    bells.ring(0)
    assert full.value == most
    full.close()
    posix_ipc.unlink_semaphore(name)


def test_closed_bells_can_be_rung_again(
    bells: Bells, worker: posix_ipc.Semaphore
) -> None:
    bells.ring(3)
    bells.close()
    bells.ring(3)
    assert worker.value == 2


# -- what must not end the thread ------------------------------------------------------


def test_a_doorbell_whose_semaphore_is_closed_under_it_still_looks(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every wait fails from then on: it looks without, as often, and says so once."""
    wakes = Wakes()
    bell = started(name, wakes)
    assert wait_until(lambda: len(wakes.seen) >= 1)
    # As soon as it is not within the wait: that would be the end of the process.
    closed = threading.Event()
    wake = bell._on_wake

    def close(rung: bool) -> float:
        if not closed.is_set():
            bell._semaphore.close()
            if bell._steady is not None:
                bell._steady.close()
            closed.set()
        return wake(rung)

    bell._on_wake = close
    assert closed.wait(5)
    seen = len(wakes.seen)
    assert wait_until(lambda: len(wakes.seen) >= seen + 3)
    assert bell.alive
    bell.ring()
    bell.stop()
    assert not bell._thread.is_alive()
    told = [record for record in caplog.records if 'semaphore' in record.getMessage()]
    assert len(told) == 1


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.EINVAL, 'Invalid argument'),
        posix_ipc.ExistentialError('gone'),
        MemoryError(),
        SystemExit(1),
    ],
)
def test_whatever_the_wait_raises_the_thread_goes_on(
    name: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    wakes = Wakes()
    bell = Doorbell(name, wakes)
    if bell._steady is not None:
        failing = FailingSemaphore(bell._steady, error)
        bell._steady = failing  # type: ignore[assignment]
    else:
        failing = FailingSemaphore(bell._semaphore, error)
        bell._semaphore = failing
    bell.start()
    assert wait_until(lambda: failing.failed >= 3)
    assert wait_until(lambda: len(wakes.seen) >= 3)
    # And it is rung again once that works.
    failing.error = None
    wakes.rung.clear()
    bell.ring()
    assert wakes.rung.wait(5)
    bell.stop()
    assert sum('semaphore' in record.getMessage() for record in caplog.records) == 1


class FailingSemaphore:
    """Raises at every wait, while it has an error."""

    def __init__(self, real: Any, error: BaseException | None) -> None:
        self.error = error
        self.failed = 0
        self._real = real

    def acquire(self, wait_s: float) -> Any:
        if self.error is not None:
            self.failed += 1
            raise self.error
        return self._real.acquire(wait_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize('error', [RuntimeError, MemoryError, SystemExit])
def test_a_chore_that_fails_keeps_no_other_off(
    streams: Streams,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    """A stop hook, a deferred action, the mappings: the rest is done all the same."""
    process = streams._process
    link, membership = process.link, process.holder.require()

    def fail(*_: object) -> None:
        raise error

    first, second = streams.create('first'), streams.create('second')
    stopped: list[str] = []
    first.on_cancel(fail)
    second.on_cancel(lambda: stopped.append('second'))
    reconnected: list[object] = []
    monkeypatch.setattr(process.mappings, 'forget_unused', fail)
    monkeypatch.setattr(membership.hubs.board, 'collect_on_ring', fail)
    monkeypatch.setattr(link.client, 'gone', lambda: True)
    monkeypatch.setattr(link._respawner, 'reconnect', reconnected.append)
    done = threading.Event()
    process.later(fail)
    process.later(done.set)
    streams.cancel('first')
    streams.cancel('second')
    assert wait_until(lambda: stopped == ['second'])
    assert done.wait(5)
    assert wait_until(lambda: len(reconnected) >= 3)
    assert membership.alive
    # Once each, however often they fail.
    told = [record.getMessage() for record in caplog.records]
    assert told.count('doorbell: mappings failed') == 1
    assert told.count('doorbell: the board failed') == 1
    monkeypatch.undo()
    for producer in (first, second):
        producer.finish()


def test_a_stop_that_is_interrupted_closes_nothing_under_the_thread(name: str) -> None:
    """Nor does the next: a join that was interrupted takes its thread for ended."""
    entered, held = threading.Event(), threading.Event()
    seen: list[int] = []

    def wake(_: bool) -> float:
        entered.set()
        held.wait(30)
        seen.append(bell._semaphore.value)
        return 0.0

    def handler(*_: object) -> None:
        raise Interrupted

    def stop() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        bell.stop()

    bell = Doorbell(name, wake)
    bell.start()
    old = signal.signal(signal.SIGALRM, handler)
    again = threading.Thread(target=bell.stop)
    try:
        assert entered.wait(30)
        with pytest.raises(Interrupted):
            stop()
        again.start()
        # As long as it would need, were it not to wait.
        again.join(1)
    finally:
        signal.signal(signal.SIGALRM, old)
        held.set()
    again.join()
    assert len(seen) == 1


_ON_SHARED_WORD = {0x9, 0x109}
"""Futex operations that wait on a word of several processes: a bit more for the wall
clock. What waits for the interpreter waits on a private word."""

_WALL_CLOCK = 0x100


def test_f50_the_net_is_under_no_clock_that_can_be_set_back(name: str) -> None:
    """The kernel is asked to wait by the monotonic clock."""
    if not STEADY:
        pytest.skip('this libc waits by the wall clock only')
    bell = Doorbell(name, Wakes())
    bell.start()
    try:
        seen: set[int] = set()

        def waits() -> bool:
            where = f'/proc/self/task/{bell._thread.native_id}/syscall'
            call = Path(where).read_text().split()
            seen.update({int(call[2], 16)} if len(call) > 2 else set())
            return bool(seen & _ON_SHARED_WORD)

        assert wait_until(waits)
        assert not {op & _WALL_CLOCK for op in seen & _ON_SHARED_WORD} - {0}
    finally:
        bell.stop()


def test_a_steady_wait_takes_a_post_or_nothing(name: str) -> None:
    steady = SteadyWait.of(name)
    if steady is None:
        pytest.skip('this libc waits by the wall clock only')
    posted = posix_ipc.Semaphore(name)
    try:
        assert not steady.acquire(0.001)
        posted.release()
        assert steady.acquire(20)
        assert posted.value == 0
    finally:
        posted.close()
        steady.close()
        steady.close()
    with pytest.raises(OSError, match='sem_open'):
        SteadyWait.of(f'{name}-none')
