"""The page that names the fault tests: every one that it names is there, and whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS / 'faults' / 'README.md').read_text()
CHANGES = (TESTS.parent / 'CHANGELOG.md').read_text()
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


def notes(page: str) -> list[str]:
    """What is below the table, each note in one line."""
    lines = page.partition('\n## ')[2].split('\n\n', 1)[1]
    return [' '.join(note.split()) for note in re.split(r'^- ', lines, flags=re.M)[1:]]


def broken(page: str) -> list[str]:
    """Notes that do not begin, go on and end as sentences do."""
    first = r'\*\*F\d\d(, F\d\d)*\*\* '
    return [
        note
        for note in notes(page)
        if not re.match(first + '[A-Z`].*[.]$', note) or re.search(r'[.] [a-z]', note)
    ]


def test_every_note_is_whole_and_has_its_row() -> None:
    found = notes(PAGE)
    assert len(found) > 10
    assert broken(PAGE) == []
    numbers = [re.findall(r'F\d\d', note.split('** ')[0]) for note in found]
    assert numbers == sorted(numbers)
    assert all(f'| {one} |' in PAGE for each in numbers for one in each)


def test_a_note_that_a_merge_has_torn_is_seen() -> None:
    first, second = '- **F41** It is so,', '  for a reason. Others go.'
    page = '\n## Notes\n\n- **F36** It ends.\n'
    assert broken(f'{page}{first}\n{second}\n') == []
    assert broken(f'{page}{second}\n{first}\n') != []
    assert broken(f'{page}  of a sentence.\n{first}\n{second}\n') != []


def test_the_changelog_says_everything_once() -> None:
    release = CHANGES.split('\n## ')[1]
    headings = re.findall(r'^### (.*)$', release, re.M)
    assert len(headings) == len(set(headings))
    entries = re.split(r'^- ', re.sub(r'^### .*$', '', release, flags=re.M), flags=re.M)
    said = [' '.join(entry.split()) for entry in entries[1:]]
    assert len(said) == len(set(said))
    assert all(entry.endswith('.') for entry in said)
