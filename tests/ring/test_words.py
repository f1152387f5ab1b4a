"""Header words are written in one store each: nobody sees half of one, or a zero."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import shmstream
from shmstream.ring.layout import W_CANCELLED
from shmstream.ring.ring import RingReader
from tests.ring.actors import move_words
from tests.ring.conftest import MakeSegment
from tests.support.child import Child

CAPACITY = 4096
STEP = 50_000_017
"""Moves both halves of a word."""

PACKAGE = Path(shmstream.__file__).parent


READS = 100_000
MOVES = 50
"""Enough to have met it: it goes on until both have been reached."""


def watch(make_segment: MakeSegment, how: str, step: int) -> tuple[int, int, int]:
    """Return how often was read, how often the value was new, and how often wrong."""
    path, segment = make_segment(CAPACITY)
    reader = RingReader(segment.view)
    reads = moves = wrong = 0
    with Child(move_words, path, 60.0, how, step) as writer:
        assert writer.hear() == 'ready'
        last_head = last_dropped = 0
        while not reader.producer_state.final:
            for _ in range(1000):
                dropped, head = reader.dropped_prefix, reader.total_bytes
                moves += head != last_head
                wrong += head < last_head or head % step != 0
                wrong += dropped < last_dropped
                wrong += dropped != 0 and (dropped + CAPACITY) % step != 0
                last_head, last_dropped = head, dropped
            reads += 2000
            if wrong or (reads >= READS and moves >= MOVES):
                segment.words[W_CANCELLED] = 1
        total = writer.hear()
        wrong += reader.total_bytes != total
    print(f'{reads} reads, {moves} moves, {wrong} wrong')
    return reads, moves, wrong


@pytest.mark.parametrize(('how', 'step'), [('append', 1009), ('store', STEP)])
def test_header_words_are_never_seen_torn_or_zero(
    make_segment: MakeSegment, how: str, step: int
) -> None:
    reads, moves, wrong = watch(make_segment, how, step)
    assert reads >= READS
    assert moves >= MOVES
    assert wrong == 0


def test_a_word_that_is_written_in_halves_is_caught(make_segment: MakeSegment) -> None:
    *_, wrong = watch(make_segment, 'halves', STEP)
    assert wrong > 0


def _names(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.update(node.name.split('.'))
        elif isinstance(node, ast.ImportFrom):
            found.update((node.module or '').split('.'))
    return found


def test_nothing_in_the_package_writes_words_that_others_see_as_zero() -> None:
    sources = list(PACKAGE.rglob('*.py'))
    assert len(sources) > 30
    for source in sources:
        names = _names(ast.parse(source.read_text(encoding='utf-8')))
        unfit = names & {'pack_into', 'shared_memory', 'ctypes'}
        if source == PACKAGE / 'wakeups' / 'semaphore.py':
            # It calls libc, and knows nothing of words.
            assert unfit == {'ctypes'}
            assert not names & {'memory', 'ring', 'words', 'mmap'}
        else:
            assert not unfit, source


def test_only_the_layout_module_knows_numbers_of_words() -> None:
    # A literal index into a header would be a second place that knows the layout.
    for source in [
        *(PACKAGE / 'ring').glob('*.py'),
        *(PACKAGE / 'memory').glob('*.py'),
    ]:
        for node in ast.walk(ast.parse(source.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Subscript):
                what = ast.unparse(node.value)
                assert not (
                    what.endswith('words') and isinstance(node.slice, ast.Constant)
                ), f'{source.name}:{node.lineno}'
