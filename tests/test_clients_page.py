"""What docs/clients.md names is there, and every entry of its table names a test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.test_index import names_in
from tests.support.followed import SHARED

PAGE = (Path(__file__).parents[1] / 'docs' / 'clients.md').read_text()
NAMED = re.findall(
    r'^\[([\w-]+)\]: \.\./(tests/\S+) "(\w+)(?:\[(\w+)\])?"$', PAGE, re.M
)
USED = re.findall(r'\]\[([\w-]+)\]', PAGE)
SCENES = {scene.__name__ for scene in SHARED}


def test_every_test_that_the_page_names_exists() -> None:
    root = Path(__file__).parents[1]
    missing = [
        (file, test, scene)
        for _, file, test, scene in NAMED
        if test not in names_in(root / file) or (scene and scene not in SCENES)
    ]
    assert missing == []


def test_every_entry_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith('| ')]
    table = [
        row.strip('| ').split(' | ') for row in rows[: rows.index('| in front | |')]
    ]
    assert len(table) > 8
    for row in table[2:]:
        assert len(row) == len(table[0])
        for entry in row[1:]:
            assert entry == '-' or re.fullmatch(r'\[[^]]+\]\[[\w-]+\]', entry), entry
    assert {label for label, *_ in NAMED} == set(USED)
