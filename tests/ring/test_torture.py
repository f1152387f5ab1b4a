"""A writer that laps its readers without pause; no wrong byte may ever be returned.

The same set-up must catch readers that are known to be wrong, or it proves nothing.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from typing import Any

import pytest

from shmstream.ring.layout import W_CANCELLED
from tests.ring.actors import read_laps, write_laps
from tests.ring.conftest import MakeSegment
from tests.support.child import Child

CAPACITY = 64 * 1024


def run(make_segment: MakeSegment, kinds: list[str], seconds: float) -> list[Any]:
    """Return what each reader says at its end, and the bytes written."""
    path, segment = make_segment(CAPACITY)
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    with ExitStack() as stack:
        writer = stack.enter_context(Child(write_laps, path, seconds, seed))
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
    assert total > 100 * CAPACITY
    for reader in readers:
        assert 'wrong' not in reader
        assert reader['right'] > 500
        assert reader['lost'] > 5
        assert reader['bytes'] > 20 * CAPACITY


@pytest.mark.parametrize('kind', ['head', 'trusting'])
def test_a_reader_that_checks_the_wrong_thing_is_caught(
    make_segment: MakeSegment, kind: str
) -> None:
    reader, _ = run(make_segment, [kind], seconds=20)
    print(reader)
    assert 'wrong' in reader
