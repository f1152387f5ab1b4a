"""A writer that laps its readers without pause; no wrong byte may ever be returned.

How often the writer comes in the middle of a copy is up to the machine.
``test_interleavings.py`` has it come at every byte, and shows there that readers which
check the wrong thing are caught.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from typing import Any

from shmstream.ring.layout import W_CANCELLED, W_HEAD
from tests.ring.actors import read_laps, write_laps
from tests.ring.conftest import MakeSegment
from tests.support.child import Child
from tests.support.leaks import wait_until
from tests.support.patience import Stopwatch

CAPACITY = 64 * 1024
LAPS = 100
LEAST = {'right': 500, 'lost': 5, 'bytes': 20 * CAPACITY}
"""What has to have happened: in a run in which nobody is lapped nothing is shown."""

SECONDS = 4.5
"""How long it goes on, if all of that has happened by then."""

WAIT_S = 40.0


def run(make_segment: MakeSegment, kinds: list[str], wrong: bool = False) -> list[Any]:
    """Return what each reader says at its end, and the bytes written.

    Raises:
        TimeoutError: not enough has happened within ``WAIT_S``.
    """
    path, segment = make_segment(CAPACITY)
    seed = random.randrange(1 << 32)
    print(f'seed {seed}')
    with ExitStack() as stack:
        writer = stack.enter_context(Child(write_laps, path, seed, wrong))
        assert writer.hear() == 'ready'
        readers = [
            stack.enter_context(Child(read_laps, path, kind, seed + i, LEAST))
            for i, kind in enumerate(kinds)
        ]
        # However it ends, the writer does not go on.
        stack.callback(segment.words.__setitem__, W_CANCELLED, 1)
        for reader in readers:
            assert reader.hear() == 'ready'
        with Stopwatch() as watch:
            found = [reader.hear_patiently(WAIT_S) for reader in readers]
            if found == ['enough'] * len(readers):
                assert wait_until(lambda: segment.words[W_HEAD] > LAPS * CAPACITY)
                assert wait_until(lambda: watch.seconds >= SECONDS)
        segment.words[W_CANCELLED] = 1
        found = [
            reader.hear() if said == 'enough' else said
            for reader, said in zip(readers, found, strict=True)
        ]
        return [*found, writer.hear()]


def test_no_wrong_byte_is_read_from_a_ring_that_is_lapped(
    make_segment: MakeSegment,
) -> None:
    *readers, total = run(make_segment, ['ring', 'ring'])
    print(readers, total)
    assert total > LAPS * CAPACITY
    for reader in readers:
        assert 'wrong' not in reader
        assert reader['pid'] != os.getpid()
        for name, least in LEAST.items():
            assert reader[name] >= least


def test_a_byte_that_is_wrong_is_told(make_segment: MakeSegment) -> None:
    """The set-up above sees what it looks for: a writer whose bytes are others."""
    reader, _ = run(make_segment, ['ring'], wrong=True)
    assert 'wrong' in reader


def test_a_reader_that_is_lapped_and_not_told_is_caught(
    make_segment: MakeSegment,
) -> None:
    """Whatever the machine does: the reader waits for the writer."""
    reader, _ = run(make_segment, ['careless'])
    assert 'wrong' in reader
