"""A real segment in a real file, for tests of several processes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmstream import clock
from shmstream.memory.new_segment import new_segment
from shmstream.memory.segment import Segment

MakeSegment = Callable[[int], tuple[Path, Segment]]


def remove(path: Path) -> None:
    """Remove a segment, and what was written beside it."""
    for each in path.parent.glob(f'{path.name}*'):
        each.unlink()


@pytest.fixture
def make_segment() -> Iterator[MakeSegment]:
    """Make segments of a capacity; their files go after the test."""
    with ExitStack() as stack:

        def make(capacity: int) -> tuple[Path, Segment]:
            name = f'shmstream-test-{os.getpid()}-{secrets.token_hex(6)}.ring'
            path = Path('/dev/shm') / name
            segment, fd = new_segment(
                path,
                capacity=capacity,
                generation=1,
                created=clock.Moment(1, 1, 1),
                producer_epoch=0,
                owner=bytes(32),
                conv_id=b'c',
            )
            stack.callback(remove, path)
            os.close(fd)
            return path, segment

        yield make
