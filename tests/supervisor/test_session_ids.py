"""Looking up by what comes before ``::``: what is found, and what it costs."""

from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmstream.ids import MAX_ID_BYTES, NOBODY
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor import session_ids
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session_ids import SessionIds
from tests.support.registry import fresh_registry

COUNT = 20

IDS = st.text('a:b', min_size=1, max_size=7)


def held_by(registry: Registry, conv_ids: list[str]) -> int:
    """Bytes of heap that sessions of these ids cost the supervisor."""
    before, _ = tracemalloc.get_traced_memory()
    for conv_id in conv_ids:
        _, locked = registry.create(NOBODY, conv_id, 4096, 0)
        os.close(locked)
    after, _ = tracemalloc.get_traced_memory()
    return after - before


def test_f43_an_id_of_colons_costs_what_any_other_costs(tmp_path: Path) -> None:
    registry, _ = fresh_registry(RuntimeDirectory(tmp_path / 'run'))
    tracemalloc.start()
    try:
        held_by(registry, ['the first'])
        plain = held_by(
            registry, [f'{n:03}'.ljust(MAX_ID_BYTES, 'x') for n in range(COUNT)]
        )
        colons = held_by(
            registry, [f'{n:03}'.rjust(MAX_ID_BYTES, ':') for n in range(COUNT)]
        )
    finally:
        tracemalloc.stop()
        registry.close()
    assert colons < 2 * plain


@given(
    there=st.sets(IDS, max_size=12),
    gone=st.sets(IDS, max_size=6),
    asked=st.lists(st.text('a:b', max_size=7), max_size=8),
)
def test_what_is_found_is_the_id_and_what_begins_with_it_and_colons(
    there: set[str], gone: set[str], asked: list[str]
) -> None:
    ids = SessionIds()
    for conv_id in there | gone:
        ids.add(NOBODY, conv_id)
        ids.add(bytes(31) + b'1', conv_id)
    for conv_id in gone:
        ids.remove(NOBODY, conv_id)
    left = sorted(there - gone)
    expected: dict[str, None] = {}
    for conv_id in filter(None, asked):
        expected.update(dict.fromkeys(i for i in left if i == conv_id))
        expected.update(dict.fromkeys(i for i in left if i.startswith(f'{conv_id}::')))
    assert ids.found_by(NOBODY, asked) == list(expected)


def lines_of_look_up(there: list[str], asked: list[str]) -> int:
    """How many lines of ours one look-up runs: its work, on any processor."""
    ids = SessionIds()
    for conv_id in there:
        ids.add(NOBODY, conv_id)
    lines = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != session_ids.__file__:
            return None
        lines += event == 'line'
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        found = ids.found_by(NOBODY, asked)
    finally:
        sys.settrace(before)
    assert sorted(found) == sorted(there)
    return lines


# Each begins with the one before it.
CHAIN = ['::'.join('a' * length) for length in range(1, 171)]
BELOW = [f'{CHAIN[-1]}::{number}' for number in range(1000)]
SIDES = [f'{conv_id}::{letter}' for conv_id in CHAIN for letter in 'bc']


@pytest.mark.parametrize(
    ('there', 'asked'),
    [
        (BELOW, ['a'] * 1000),
        (BELOW, CHAIN),
        (BELOW, CHAIN[::-1]),
        (CHAIN + SIDES, CHAIN[::-1]),
        (CHAIN + SIDES, SIDES + CHAIN),
        (CHAIN + SIDES, [*SIDES[::2], *CHAIN, *SIDES[::-1]]),
        (BELOW, [*BELOW, *CHAIN]),
    ],
    ids=['repeated', 'down', 'up', 'sides', 'sides first', 'around', 'all'],
)
def test_f43_ids_that_find_the_same_again_cost_no_more(
    there: list[str], asked: list[str]
) -> None:
    assert lines_of_look_up(there, asked) <= 32 * len({*asked, *there})
