"""A segment, and bells that note who was rung."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmstream.memory.segment import Segment
from shmstream.memory.table import WorkerTable
from shmstream.wakeups.bells import Bells


class NotedBells(Bells):
    """Rings nobody."""

    def __init__(self, table: WorkerTable) -> None:
        super().__init__(table)
        self.rung: list[int] = []

    def ring(self, slot: int) -> None:
        self.rung.append(slot)

    def take(self) -> list[int]:
        """Who was rung since the last time."""
        rung, self.rung = self.rung, []
        return rung


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    made, fd = Segment.create(
        tmp_path / 'segment',
        capacity=65536,
        generation=1,
        created_ns=1,
        producer_epoch=0,
        owner=bytes(32),
        conv_id=b'c',
    )
    os.close(fd)
    return made


@pytest.fixture
def table(tmp_path: Path) -> WorkerTable:
    return WorkerTable.create(tmp_path / 'workers', made_directory=False)


@pytest.fixture
def noted(table: WorkerTable) -> NotedBells:
    return NotedBells(table)
