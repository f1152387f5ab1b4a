"""Counts the statements of glue: ``python -m docs.glue``."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = 'gunicorn.conf.py'
CONFIG_LINES = 2
"""The lines of the configuration that are there for shmstream."""


def code(path: Path) -> list[str]:
    """Return the statements of a file, each in one line; docstrings are none.

    Statements, and not lines: how many lines one takes is a formatter's choice. Of a
    statement with a body this is its head; each decorator is a line of its own.
    """
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.stmt, ast.ExceptHandler)) and not _is_text(node)
    ]
    lines: list[str] = []
    for node in sorted(found, key=lambda node: node.lineno):
        for part in ('body', 'orelse', 'handlers', 'finalbody'):
            if hasattr(node, part):
                setattr(node, part, [])
        lines += ast.unparse(node).strip().splitlines()
    return lines


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def glue(framework: str, by: str) -> int:
    """Return how many statements an application has that the plain one has not.

    Args:
        framework: ``fastapi`` or ``flask``.
        by: ``shmstream`` or ``redis``.
    """
    plain = Counter(code(HERE / f'{framework}_plain.py'))
    more = Counter(code(HERE / f'{framework}_{by}.py')) - plain
    return more.total() + (CONFIG_LINES if by == 'shmstream' else 0)


def table() -> str:
    """Return the table of ``docs/glue.md``."""
    rows = ['| | shmstream | fastapi-resumable-stream |', '| --- | --- | --- |']
    for framework, name in (('fastapi', 'FastAPI'), ('flask', 'Flask')):
        rows.append(
            f'| {name} | {glue(framework, "shmstream")} | {glue(framework, "redis")} |'
        )
    return '\n'.join(rows)


if __name__ == '__main__':
    print(table())
