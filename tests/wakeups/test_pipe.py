"""The pipe by which an event loop is rung: real loops, one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import posix_ipc
import pytest
import uvloop

from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.hub_on_loop import LoopHub
from shmstream.wakeups.hub_per_loop import LoopHubs
from shmstream.wakeups.pipe import PipeBell, pipe_path
from shmstream.wakeups.ring_others import Bells
from shmstream.wakeups.semaphore import semaphore_name
from shmstream.wakeups.shared_board import BY_PIPE, Board
from tests.wakeups.scene import EPOCH, SLOT, NotedBells, Stream, entered, nap

WAIT_S = 15


def open_descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir('/proc/self/fd'))


class PipedBells(NotedBells):
    """Rings by the pipe for real, and notes whose semaphore would have been posted."""

    def ring(self, slot: int, nap: int = 0) -> None:
        if not nap & BY_PIPE:
            super().ring(slot)
            return
        fd = os.open(
            pipe_path(self.table, self.table.epoch(slot)), os.O_WRONLY | os.O_NONBLOCK
        )
        os.write(fd, b'!')
        os.close(fd)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = request.param()
    yield loop
    loop.close()


@pytest.fixture
def pipe(table: WorkerTable) -> Path:
    os.mkfifo(pipe_path(table, EPOCH), 0o600)
    return pipe_path(table, EPOCH)


@pytest.fixture
def stream(segment: Segment, table: WorkerTable) -> Stream:
    return Stream(segment, PipedBells(table))


def follow(loop: asyncio.AbstractEventLoop, hub: LoopHub, stream: Stream) -> None:
    """Follow for one write."""

    async def work() -> None:
        watch = hub.join(stream.segment)
        seen = watch.reader.snapshot()
        loop.call_later(0.01, stream.write)
        await asyncio.wait_for(hub.wait(watch, seen), WAIT_S)
        assert watch.reader.snapshot() != seen

    loop.run_until_complete(work())


def test_a_loop_alone_is_rung_by_its_pipe(
    loop: asyncio.AbstractEventLoop, board: Board, pipe: Path, stream: Stream
) -> None:
    hub = LoopHubs(board, pipe).of(loop)
    for _ in range(3):
        follow(loop, hub, stream)
    # None by the semaphore, for which there is nobody here.
    assert stream.bells.take() == []
    hub.close()


def test_who_follows_beside_the_loop_is_rung_by_the_semaphore(
    loop: asyncio.AbstractEventLoop,
    board: Board,
    table: WorkerTable,
    pipe: Path,
    stream: Stream,
    produce: Callable[[], Stream],
) -> None:
    hub = LoopHubs(board, pipe).of(loop)
    hub.join(stream.segment)
    board.collect_on_ring()
    assert nap(table) & BY_PIPE
    other = produce()
    before = nap(table)
    told = entered(board, other)
    # What is rung for the old number by now is rung for.
    assert nap(table) != before
    assert not nap(table) & BY_PIPE
    assert other.write() == [SLOT]
    board.collect_on_ring()
    assert told.take() == 1
    board.nap(told)
    assert not nap(table) & BY_PIPE
    board.leave(told)
    board.nap(told)
    assert nap(table) & BY_PIPE
    hub.leave_pipe()
    assert not nap(table) & BY_PIPE
    hub.close()


def test_the_next_loop_has_the_pipe_when_the_first_is_closed(
    board: Board, pipe: Path, stream: Stream
) -> None:
    hubs = LoopHubs(board, pipe)
    before = open_descriptors()
    for _ in range(3):
        loop = asyncio.new_event_loop()
        follow(loop, hubs.of(loop), stream)
        loop.close()
    assert stream.bells.take() == []
    # The doorbell thread finds out.
    hubs.look_soon(look_at_all=True, everybody=False)
    assert open_descriptors() == before


@pytest.mark.parametrize('running', [False, True])
def test_closing_lets_go_of_the_pipe(
    loop: asyncio.AbstractEventLoop,
    board: Board,
    table: WorkerTable,
    pipe: Path,
    stream: Stream,
    running: bool,
) -> None:
    hubs = LoopHubs(board, pipe)
    loop.run_until_complete(asyncio.sleep(0))
    before = open_descriptors()
    hubs.of(loop).join(stream.segment)
    assert open_descriptors() > before
    if running:
        loop.run_until_complete(asyncio.to_thread(hubs.close))
        loop.run_until_complete(asyncio.sleep(0))
    else:
        hubs.close()
    assert open_descriptors() == before
    assert not nap(table) & BY_PIPE


def test_a_process_with_another_slot_hears_its_new_pipe(
    loop: asyncio.AbstractEventLoop,
    board: Board,
    table: WorkerTable,
    pipe: Path,
    stream: Stream,
) -> None:
    hubs = LoopHubs(board, pipe)
    hub = hubs.of(loop)
    watch = hub.join(stream.segment)
    epoch = EPOCH + (1 << 40)
    os.mkfifo(pipe_path(table, epoch), 0o600)
    pipe.unlink()
    table.free(SLOT)
    table.take(9, epoch, os.getpid())
    board.move(table, 9, epoch)
    hubs.move(pipe_path(table, epoch))
    follow(loop, hub, stream)
    assert nap(table, 9) & BY_PIPE
    hub.leave(watch)
    hub.close()


def test_without_a_pipe_the_thread_rings(
    loop: asyncio.AbstractEventLoop,
    board: Board,
    table: WorkerTable,
    stream: Stream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = LoopHubs(board, pipe_path(table, EPOCH)).of(loop)
    hub.join(stream.segment)
    board.collect_on_ring()
    assert not nap(table) & BY_PIPE
    assert 'the doorbell thread does' in caplog.text
    hub.close()


def test_many_rings_are_one(loop: asyncio.AbstractEventLoop, pipe: Path) -> None:
    rings: list[bool] = []
    bell = PipeBell(loop, pipe, lambda: rings.append(True))
    fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b'!' * 60_000)
    loop.run_until_complete(asyncio.sleep(0.02))
    assert rings == [True]
    os.close(fd)
    bell.close()
    bell.close()


def test_a_full_pipe_is_no_error_and_one_that_is_gone_is_posted_for(
    table: WorkerTable, board: Board, pipe: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = semaphore_name(table.token, EPOCH)
    semaphore = posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600)
    bells = Bells(table)
    before = open_descriptors()
    try:
        for _ in range(70_000):
            bells.ring(SLOT, 3)
        assert semaphore.value == 0
        bells.close()
        pipe.unlink()
        bells.ring(SLOT, 3)
        assert semaphore.value == 1
        bells.ring(SLOT, 2)
        assert semaphore.value == 2
        bells.close()
        # Those of a process that has another slot now, or of a forked child's parent.
        os.mkfifo(pipe)
        bells.ring(SLOT, 3)
        assert open_descriptors() > before
        del bells
    finally:
        semaphore.unlink()
        semaphore.close()
    assert open_descriptors() == before
    assert not caplog.records


def test_a_bell_that_fails_once_is_heard_the_next_time(
    loop: asyncio.AbstractEventLoop,
    board: Board,
    pipe: Path,
    stream: Stream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever goes wrong there must not leave the hub deaf to the safety net."""
    hub = LoopHubs(board, pipe).of(loop)
    failed = asyncio.Event()
    loop.set_exception_handler(lambda _loop, _context: failed.set())

    async def work() -> None:
        watch = hub.join(stream.segment)
        seen = watch.reader.snapshot()
        task = asyncio.ensure_future(hub.wait(watch, seen))
        await asyncio.sleep(0)
        with monkeypatch.context() as broken:
            broken.setattr(board, 'collect_on_ring', fail)
            stream.write()
            await asyncio.wait_for(failed.wait(), WAIT_S)
        hub.look_soon(look_at_all=True)
        await asyncio.wait_for(task, WAIT_S)

    def fail() -> None:
        raise MemoryError

    loop.run_until_complete(work())
    hub.close()


def test_another_loop_takes_over_the_pipe(
    board: Board, table: WorkerTable, pipe: Path, stream: Stream
) -> None:
    hubs = LoopHubs(board, pipe)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    hub, other = hubs.of(first), hubs.of(second)
    first.close()
    # Both who come for a hub and the net may find out, one after the other.
    hubs._forget(hub)
    hubs._forget(hub)
    assert hubs.of(second) is other
    follow(second, other, stream)
    assert nap(table) & BY_PIPE
    second.close()
    hubs.move(pipe)
    assert hubs._pipe_hub is None


def test_a_forked_child_keeps_none_of_it(
    loop: asyncio.AbstractEventLoop, board: Board, pipe: Path
) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    before = open_descriptors()
    hubs = LoopHubs(board, pipe)
    hubs.of(loop)
    assert open_descriptors() > before
    hubs.abandon()
    assert open_descriptors() == before


@pytest.mark.parametrize('eager', [False, True])
def test_what_a_loop_writes_faster_than_it_ticks_goes_together(
    loop: asyncio.AbstractEventLoop,
    board: Board,
    pipe: Path,
    produce_here: Callable[[], Stream],
    eager: bool,
) -> None:
    hub = LoopHubs(board, pipe).of(loop)
    stream = produce_here()
    watch = hub.join(stream.segment)
    taken: list[int] = []
    whole = asyncio.Event()

    class Taking:
        def take(self, at: int, data: bytes) -> None:
            taken.append(len(data))
            if sum(taken) == 50:
                whole.set()

        def wake(self) -> None:
            raise AssertionError

    async def work() -> None:
        assert hub.take(watch, watch.reader.snapshot(), Taking())
        for _ in range(50):
            stream.write()
            # The loop's next turn, or one beyond the next tick.
            await asyncio.sleep(0.01 if eager else 0)
        await asyncio.wait_for(whole.wait(), WAIT_S)

    loop.run_until_complete(work())
    assert stream.bells.take() == []
    if eager:
        assert taken == [1] * 50
    else:
        assert len(taken) < 25
    hub.leave(watch)
    hub.close()
