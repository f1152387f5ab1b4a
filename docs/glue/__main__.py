"""Counts the lines of glue: ``python -m docs.glue``."""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = 'gunicorn.conf.py'
CONFIG_LINES = 2
"""The lines of the configuration that are there for shmstream."""


def code(path: Path) -> list[str]:
    """Return the lines of a file that are neither empty, nor comment, nor docstring."""
    source = path.read_text()
    words: set[int] = set()
    last = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        begins = last in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        if token.type in (tokenize.NL, tokenize.COMMENT):
            continue
        if token.type == tokenize.STRING and begins:
            words.update(range(token.start[0], token.end[0] + 1))
        last = token.type
    return [
        line.partition('#')[0].strip()
        for number, line in enumerate(source.splitlines(), 1)
        if number not in words and line.partition('#')[0].strip()
    ]


def glue(framework: str, by: str) -> int:
    """Return how many lines an application has that the plain one has not.

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
