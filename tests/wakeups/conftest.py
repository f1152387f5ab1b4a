"""Segments, a worker table, and bells that note who was rung."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shmstream import clock
from shmstream.memory.new_segment import new_segment
from shmstream.memory.segment import Segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.shared_board import Board
from tests.wakeups.scene import EPOCH, SLOT, NotedBells, Stream, hire


@pytest.fixture
def make_segment(tmp_path: Path) -> Callable[[], Segment]:
    """Make one more segment."""
    numbers = itertools.count(1)

    def make() -> Segment:
        number = next(numbers)
        made, fd = new_segment(
            tmp_path / f'segment-{number}',
            capacity=65536,
            generation=number << 40,
            created=clock.Moment(1, 1, 1),
            producer_epoch=0,
            owner=bytes(32),
            conv_id=b'c%d' % number,
        )
        os.close(fd)
        return made

    return make


@pytest.fixture
def segment(make_segment: Callable[[], Segment]) -> Segment:
    return make_segment()


@pytest.fixture
def table(tmp_path: Path) -> WorkerTable:
    return WorkerTable.create(tmp_path / 'workers', made_directory=False)


@pytest.fixture
def noted(table: WorkerTable) -> NotedBells:
    return NotedBells(table)


@pytest.fixture
def board(table: WorkerTable) -> Board:
    """The board of the process that follows."""
    return hire(table)


@pytest.fixture
def produce(
    make_segment: Callable[[], Segment], table: WorkerTable
) -> Callable[[], Stream]:
    """Make one more stream, as if produced in a process of its own."""
    return lambda: Stream(make_segment(), NotedBells(table))


@pytest.fixture
def stream(produce: Callable[[], Stream]) -> Stream:
    return produce()


@pytest.fixture
def produce_here(
    make_segment: Callable[[], Segment], table: WorkerTable, board: Board
) -> Callable[[], Stream]:
    """Make one more stream that the process produces which follows."""
    bells = NotedBells(table, (SLOT, EPOCH), board.mark_here)
    return lambda: Stream(make_segment(), bells)
