"""Looking up by what comes before ``::``: what is found, and what it costs."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shmstream.ids import MAX_ID_BYTES, NOBODY
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.table import WorkerTable
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.names import Names
from shmstream.supervisor.registry import Registry

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
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    registry = Registry(directory, SupervisorConfig(max_memory=1 << 30), table)
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
    asked=st.text('a:b', max_size=7),
)
def test_what_is_found_is_the_id_and_what_begins_with_it_and_colons(
    there: set[str], gone: set[str], asked: str
) -> None:
    names = Names()
    for conv_id in there | gone:
        names.add(NOBODY, conv_id)
        names.add(bytes(31) + b'1', conv_id)
    for conv_id in gone:
        names.remove(NOBODY, conv_id)
    found = names.found_by(NOBODY, asked)
    expected = {i for i in there - gone if i == asked or i.startswith(asked + '::')}
    assert len(found) == len(set(found))
    assert set(found) == (expected if asked else set())
