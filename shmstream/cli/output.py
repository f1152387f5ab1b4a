"""What is written to stdout and stderr: tables, JSON, colours and progress."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Self

import click

from shmstream.cli.words import cut, fitted, safe, width

PROGRESS_AFTER_S = 1.0
"""Seconds after which a command on a terminal says how far it is."""

_SGR = {'bold': 1, 'dim': 2, 'red': 31, 'green': 32, 'yellow': 33, 'blue': 34}
_SGR |= {'reverse': 7, 'cyan': 36}

STATE_COLOURS = {
    'live': 'green',
    'pending': 'cyan',
    'cancelled': 'yellow',
    'aborted': 'red',
}


def coloured(stream: Any = None) -> bool:
    """Whether colours may be written to a stream; None: to stdout."""
    if os.environ.get('NO_COLOR') or os.environ.get('TERM') == 'dumb':
        return False
    return bool((sys.stdout if stream is None else stream).isatty())


def painted(text: str, *styles: str, on: bool = True) -> str:
    """Return the text in these styles; unchanged if colours are not ``on``."""
    codes = ';'.join(str(_SGR[style]) for style in styles if style)
    return f'\x1b[{codes}m{text}\x1b[0m' if on and codes else text


def note(line: str) -> None:
    """Write a line to stderr; what a terminal would obey is spelled out."""
    click.echo(f'shmstream: {safe(line)}', err=True)


def write(text: str) -> None:
    """Write a line to stdout; a character that its encoding lacks is replaced."""
    encoding = sys.stdout.encoding or 'utf-8'
    click.echo(text.encode(encoding, 'replace').decode(encoding))


def write_json(what: Any) -> None:
    """Write JSON to stdout, in ASCII only, so that no terminal obeys it."""
    click.echo(json.dumps(what))


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Sequence[bool],
    styles: Iterable[Sequence[str]] = (),
    columns: int | None = None,
    coloured: bool = False,
) -> list[str]:
    """Return the lines of a table. If it is too wide, its first column is cut.

    Args:
        heads: the head of each column.
        rows: the cells.
        right: which columns are set to the right.
        styles: for each row the style of each cell, empty for none.
        columns: the columns that the lines may have; None: as many as they need.
        coloured: whether to use the styles.
    """
    body = [list(row) for row in rows]
    widths = [max(map(width, cells)) for cells in zip(heads, *body, strict=True)]
    if columns is not None:
        others = sum(widths[1:]) + 2 * (len(widths) - 1)
        widths[0] = max(min(widths[0], columns - others), width(heads[0]))

    def line(cells: Sequence[str], styled: Sequence[str]) -> str:
        parts = []
        for cell, wide, to_right, style in zip(
            cells, widths, right, styled, strict=True
        ):
            parts.append(painted(fitted(cell, wide, to_right), style, on=coloured))
        text = '  '.join(parts)
        return text if columns is None or coloured else cut(text, columns)

    plain = [''] * len(heads)
    lines = [line(heads, ['bold'] * len(heads))]
    each = list(styles) or [plain] * len(body)
    lines += [line(cells, styled) for cells, styled in zip(body, each, strict=True)]
    return [text.rstrip() for text in lines]


def terminal_columns() -> int | None:
    """Return the columns of the terminal on stdout; None if it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Progress:
    """A line on stderr that counts, while a command takes longer than a second.

    Args:
        what: what is counted.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + PROGRESS_AFTER_S
        self._shown = False

    def __call__(self, number: int) -> None:
        """Show the number, if it is time to."""
        now = time.monotonic()
        if now >= self._next and sys.stderr.isatty():
            self._next = now + 0.2
            self._shown = True
            sys.stderr.write(f'\r\x1b[K{number} {self._what}')
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write('\r\x1b[K')
            sys.stderr.flush()
