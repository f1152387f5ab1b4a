"""What a process may take of the memory, without ever waiting for a word about it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shmstream import Producer, State, Streams
from shmstream.errors import NoRoom
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.reservation import MAX_EXTENT
from shmstream.memory.room_share import RoomShare
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.process import room_requests
from tests.memory.segments import create
from tests.support.leaks import wait_until

SHARE = 4 << 20


@pytest.fixture
def table(tmp_path: Path) -> WorkerTable:
    """A table as a supervisor keeps it for two workers."""
    table = WorkerTable.create(tmp_path / 'workers', made_directory=True)
    table.take(0, 1, 1)
    table.take(1, 2, 2)
    table.publish_room(2 * SHARE)
    return table


def test_f60_half_of_a_share_is_left_when_the_supervisor_is_asked_and_once(
    table: WorkerTable,
) -> None:
    asked: list[bool] = []
    room = RoomShare(table, lambda: asked.append(True))
    for eighths in range(1, 9):
        assert room.take(SHARE // 8)
        assert len(asked) == (eighths > 4)
    table.publish_room(2 * SHARE)
    assert room.take(SHARE // 2 + 1)
    assert len(asked) == 2


def test_f60_on_a_loop_a_share_that_is_used_up_goes_into_what_others_leave(
    table: WorkerTable,
) -> None:
    asked: list[bool] = []
    room = RoomShare(table, lambda: asked.append(True))

    async def write() -> None:
        assert room.take(SHARE)
        assert room.take(MAX_EXTENT)
        assert not room.take(1)
        table.publish_room(SHARE // 8)
        assert room.take(SHARE // 8)
        assert not room.take(1)
        for _ in range(3):
            table.publish_room(0)
            assert not room.take(1)
        assert len(asked) == 5

    asyncio.run(write())


def test_f42_what_is_taken_while_it_is_measured_counts_in_the_figure(
    table: WorkerTable,
) -> None:
    room = RoomShare(table, lambda: None)
    assert room.take(SHARE // 2)
    table.measure_room()
    assert room.take(SHARE // 2)
    # The supervisor has seen the one half, or both: nobody knows.
    table.publish_room(2 * SHARE)
    assert room.take(SHARE // 2)
    assert not room.take(1)
    table.measure_room()
    assert not room.take(1)
    # One that has died in the midst of it is as one that takes long.
    table.measure_room()
    table.publish_room(2 * SHARE)
    assert room.take(SHARE)
    # Whoever takes nothing meanwhile need not notice how often it is measured.
    for _ in range(3):
        table.measure_room()
        table.publish_room(2 * SHARE)
    table.measure_room()
    assert room.take(SHARE)
    assert not room.take(1)
    table.publish_room(2 * SHARE)
    assert not room.take(1)


def test_f60_an_extent_that_is_not_to_be_had_becomes_what_must_be(
    tmp_path: Path,
) -> None:
    segment, fd = create(tmp_path / 'segment', capacity=1 << 20)
    try:
        writer = segment_writer(segment, fd, lambda size: size <= 8192)
        for _ in range(100):
            writer.append(bytes(3000))
        with pytest.raises(NoRoom):
            writer.append(bytes(100_000))
        assert writer.head == 300_000
    finally:
        os.close(fd)


def test_f60_a_thread_waits_for_the_word_and_takes_what_it_says(
    table: WorkerTable,
) -> None:
    def ask() -> None:
        """As the thread that asks does, later."""
        threading.Thread(target=answer).start()

    def answer() -> None:
        table.publish_room(figures.pop() if figures else 0)
        room.answered(True)

    figures = [2 * SHARE, 0]
    room = RoomShare(table, ask)
    assert room.take(SHARE // 2)
    # Nothing is lent to who can wait: the figure is the limit.
    assert not room.take(SHARE)
    room.wait()
    assert not room.take(SHARE)
    room.wait()
    assert room.take(SHARE)
    room.wait()
    assert not room.take(1)


def test_f60_while_nobody_answers_the_file_system_is_the_limit(
    table: WorkerTable,
) -> None:
    asked: list[bool] = []
    room = RoomShare(table, lambda: asked.append(True))

    async def write() -> None:
        assert room.take(SHARE + MAX_EXTENT)
        assert room.asked
        room.answered(False)
        assert not room.asked
        assert room.take(8 * SHARE)
        # And somebody is asked again.
        assert len(asked) == 2
        assert not room.asked
        table.publish_room(0)
        assert not room.take(MAX_EXTENT + 1)

    asyncio.run(write())
    # Nor does a thread wait longer than it has to.
    assert not room.take(8 * SHARE)
    room.wait()
    assert room.take(8 * SHARE)


class Waits:
    """A room that is short until somebody has waited, for as long as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, enough: bool) -> None:
        self.begun, self.over = threading.Event(), threading.Event()
        self.times = 0
        self._enough = enough
        monkeypatch.setattr(
            RoomShare, '_may_take', lambda *_: bool(self.times and enough)
        )
        monkeypatch.setattr(RoomShare, '_wait', self._wait)

    def _wait(self) -> None:
        self.times += 1
        self.begun.set()
        assert self.over.wait(30)


@pytest.mark.parametrize('end', [Producer.finish, Producer.cancel])
def test_f60_who_waits_for_room_keeps_nobody_from_ending_the_stream(
    streams: Streams,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Producer], None],
) -> None:
    """Not an event loop above all, which ends what a thread writes."""
    producer = streams.create('c', capacity=1 << 20)
    waits = Waits(monkeypatch, True)
    wrote: list[bool] = []
    writer = threading.Thread(target=lambda: wrote.append(producer.write(bytes(99999))))
    ender = threading.Thread(target=end, args=(producer,))
    writer.start()
    try:
        assert waits.begun.wait(30)
        ender.start()
        ended = wait_until(lambda: producer.state.final)
    finally:
        waits.over.set()
        writer.join()
        ender.join()
    assert ended
    assert wrote == [False]
    assert producer.total_bytes == 0


@pytest.mark.parametrize('enough', [True, False])
def test_f60_a_thread_s_write_waits_once_and_writes_or_aborts(
    streams: Streams, monkeypatch: pytest.MonkeyPatch, enough: bool
) -> None:
    producer = streams.create('c', capacity=1 << 20)
    waits = Waits(monkeypatch, enough)
    waits.over.set()
    assert producer.write(bytes(99999)) is enough
    assert waits.times == 1
    assert producer.total_bytes >= 99999 * enough
    producer.finish()
    assert producer.state is (State.COMPLETE if enough else State.ABORTED)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_f60_whatever_ends_the_asking_is_an_answer(
    tmp_path: Path, table: WorkerTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(room_requests, 'ask', fail)
    room = RoomShare(table, lambda: None)
    asking = room_requests.RoomRequests(RuntimeDirectory(tmp_path))
    assert room.take(SHARE // 2 + 1)
    assert room.asked
    asking.ask_aside(time.monotonic(), room)
    asking.join()
    assert not room.asked
    # And nobody is asked again at once.
    asking.wanted = True
    asking.ask_aside(time.monotonic(), room)
    assert asking.wanted
