"""The page that names the fault tests: every one that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS / 'faults' / 'README.md').read_text()
ROWS = 40
"""Those from the beginning on; what was found since is in the order of its numbers."""


def named(text: str) -> list[tuple[str, str]]:
    """Files and tests that a text names."""
    return re.findall(r'`([\w/]+\.py)::(\w+)`', text)


def names_in(file: Path) -> set[str]:
    """The tests of a module: functions, and what hypothesis makes."""
    found = set()
    for node in ast.parse(file.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return {name for name in found if name.lower().startswith('test')}


def test_every_test_that_the_page_names_exists() -> None:
    assert len(named(PAGE)) > ROWS
    missing = [
        f'{file}::{name}'
        for file, name in named(PAGE)
        if not (TESTS / file).is_file() or name not in names_in(TESTS / file)
    ]
    assert missing == []
    files = re.findall(r'`([\w/]+\.py)`', PAGE)
    here = TESTS / 'faults'
    assert all((TESTS / file).is_file() or (here / file).is_file() for file in files)


def test_every_fault_has_a_row_and_a_test() -> None:
    rows = {
        line.split('|')[1].strip(): named(line)
        for line in PAGE.splitlines()
        if line.startswith('| F')
    }
    assert list(rows)[:ROWS] == [f'F{number:02}' for number in range(1, ROWS + 1)]
    assert list(rows) == sorted(rows)
    assert all(rows.values())


def test_every_test_that_says_which_fault_it_is_has_its_row() -> None:
    for file in TESTS.rglob('test_*.py'):
        for name in names_in(file):
            for number in re.findall(r'(?<=_)f(\d\d)(?=_)', name):
                rows = [r for r in PAGE.splitlines() if r.startswith(f'| F{number}')]
                assert any(f'{name}`' in row for row in rows), f'{file.name}::{name}'
