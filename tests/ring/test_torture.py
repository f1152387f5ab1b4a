"""A writer that laps its readers without pause; no wrong byte may ever be returned.

How often they meet is up to the machine. ``test_interleavings.py`` has them meet at
every byte, and shows there that readers which check the wrong thing are caught.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from typing import Any

from shmstream.ring.layout import W_CANCELLED
from tests.ring.actors import read_laps, write_laps
from tests.ring.conftest import MakeSegment
from tests.support.child import Child

CAPACITY = 64 * 1024


def run(
    make_segment: MakeSegment, kinds: list[str], seconds: float, wrong: bool = False
) -> list[Any]:
    """Return what each reader says at its end, and the bytes written."""
    path, segment = make_segment(CAPACITY)
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    with ExitStack() as stack:
        writer = stack.enter_context(Child(write_laps, path, seconds, seed, wrong))
        assert writer.hear() == 'ready'
        readers = [
            stack.enter_context(Child(read_laps, path, kind, seed + i))
            for i, kind in enumerate(kinds)
        ]
        for reader in readers:
            assert reader.hear() == 'ready'
        found = [reader.hear() for reader in readers]
        segment.words[W_CANCELLED] = 1
        total = writer.hear()
        assert os.getpid() not in {reader['pid'] for reader in found}
    return [*found, total]


def test_no_wrong_byte_is_read_from_a_ring_that_is_lapped(
    make_segment: MakeSegment,
) -> None:
    *readers, total = run(make_segment, ['ring', 'ring'], seconds=4.5)
    print(readers, total)
    assert total > CAPACITY
    for reader in readers:
        assert 'wrong' not in reader
        assert reader['bytes'] > 0


def test_a_byte_that_is_wrong_is_told(make_segment: MakeSegment) -> None:
    """The set-up above sees what it looks for: a writer whose bytes are others."""
    reader, _ = run(make_segment, ['ring'], seconds=60, wrong=True)
    assert 'wrong' in reader
