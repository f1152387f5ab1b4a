"""Segments for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

from shmstream.clock import Moment
from shmstream.memory.new_segment import new_segment
from shmstream.memory.segment import Segment

OWNER = bytes(range(32))


def create(
    path: Path, capacity: int = 65536, conv_id: str = 'c', generation: int = 7
) -> tuple[Segment, int]:
    """Make a segment; the descriptor that holds its lock is the caller's."""
    return new_segment(
        path,
        capacity=capacity,
        generation=generation,
        created=Moment(1_700_000_000_000_000_000, 5, 9),
        producer_epoch=3,
        owner=OWNER,
        conv_id=conv_id.encode(),
    )
