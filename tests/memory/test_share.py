"""What a process may take of the memory, without ever waiting for a word about it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from shmstream.errors import NoRoom
from shmstream.memory.extents import MAX_EXTENT, segment_writer
from shmstream.memory.room import Room
from shmstream.memory.table import WorkerTable
from tests.memory.segments import create

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
    room = Room(table, lambda: asked.append(True))
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
    room = Room(table, lambda: asked.append(True))

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
    room = Room(table, ask)
    assert room.take(SHARE // 2)
    # Nothing is lent to who can wait: the figure is the limit.
    assert not room.take(SHARE)
    assert room.take(SHARE)
    assert not room.take(1)


def test_f60_while_nobody_answers_the_file_system_is_the_limit(
    table: WorkerTable,
) -> None:
    asked: list[bool] = []
    room = Room(table, lambda: asked.append(True))

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
    assert room.take(8 * SHARE)
