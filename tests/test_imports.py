"""Imports make no circle, and go upwards in the table of CONTRIBUTING.md only.

What is imported for its type only, or inside a function, counts as well.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules(package: str) -> dict[str, Path]:
    """The modules of a package, by their names."""
    found = {}
    for path in sorted((ROOT / package).rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


def imported(package: str) -> dict[str, set[str]]:
    """What each module of a package imports of the same package."""
    known = modules(package)
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                each = [f'{node.module}.{alias.name}' for alias in node.names]
                wanted = [name if name in known else node.module for name in each]
            else:
                continue
            graph[name] |= {other for other in wanted if other in known} - {name}
    return graph


def by_folder(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """What each folder imports of other folders; the root is built on all of them."""
    known = set(graph)
    folders: dict[str, set[str]] = defaultdict(set)

    def folder(name: str) -> str:
        is_package = any(other.startswith(f'{name}.') for other in known)
        return name if is_package else name.rpartition('.')[0]

    root = min(known, key=len)
    for name, others in graph.items():
        if folder(name) != root:
            there = {folder(other) for other in others} - {root, folder(name)}
            folders[folder(name)] |= there
    return folders


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return a circle of imports, empty if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := walk(other, [*way, name]):
                    return found
            done.add(name)
        return []

    for name in sorted(graph):
        if found := walk(name, []):
            return found
    return []


@pytest.mark.parametrize('package', ['shmstream', 'bench'])
def test_imports_make_no_circle(package: str) -> None:
    graph = imported(package)
    assert len(graph) > 20
    assert circle(graph) == []
    assert circle(by_folder(graph)) == []


def test_a_circle_is_found() -> None:
    graph = {'p': set(), 'p.a': {'p.b'}, 'p.b': {'p.c.d'}, 'p.c': set()}
    graph['p.c.d'] = {'p.a'}
    assert circle(graph) == ['p.a', 'p.b', 'p.c.d', 'p.a']
    graph = {'p': set(), 'p.a': set(), 'p.b': set(), 'p.a.x': {'p.b.y'}}
    graph |= {'p.b.y': set(), 'p.b.z': {'p.a.w'}, 'p.a.w': set()}
    assert circle(graph) == []
    assert circle(by_folder(graph)) == ['p.a', 'p.b', 'p.a']


def lines_of_table() -> dict[str, int]:
    """The line of each package and each module in CONTRIBUTING.md's table."""
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    table = text.partition('| package of `shmstream/` |')[2].partition('\n\n')[0]
    lines: dict[str, int] = {}
    for number, line in enumerate(table.splitlines()):
        for name in re.findall('`([^`]+)`', line.split('|')[1] if number else ''):
            name = name.removesuffix('/').removesuffix('.py')
            assert name not in lines, f'twice in the table: {name}'
            lines[name] = number
    return lines


def at_root(name: str) -> str:
    """The package or module at the root that a module belongs to."""
    return [*name.split('.'), '__init__'][1]


def against_table(
    graph: dict[str, set[str]], lines: dict[str, int]
) -> list[tuple[str, str]]:
    """The imports of what is below: who imports, and what."""

    return [
        (name, other)
        for name, others in sorted(graph.items())
        for other in sorted(others)
        if lines[at_root(other)] > lines[at_root(name)]
    ]


def test_each_line_of_the_table_imports_only_what_is_above_it() -> None:
    graph, lines = imported('shmstream'), lines_of_table()
    assert set(lines) == set(map(at_root, graph))
    assert against_table(graph, lines) == []


def test_an_import_of_what_is_below_is_found() -> None:
    lines = {'a': 1, '__init__': 2, 'b': 3}
    graph = {'p': {'p.a.x'}, 'p.a.x': {'p', 'p.b'}, 'p.b': {'p', 'p.a.x'}}
    assert against_table(graph, lines) == [('p.a.x', 'p'), ('p.a.x', 'p.b')]


INSIDE = {'ring', 'memory', 'wakeups', 'control', 'supervisor', 'process'}


def test_the_service_uses_streams_by_the_public_api_only() -> None:
    for name, others in imported('shmstream').items():
        if name.startswith('shmstream.http'):
            assert not set(map(at_root, others)) & INSIDE, name
