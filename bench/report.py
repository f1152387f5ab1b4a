"""What a question takes and gives: options, rows, a table, JSON and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line; None or (): the question decides.

    Attributes:
        quick: a rough answer, under a minute.
        rounds: interleaved rounds.
        out: directory for JSON and plots.
        only: names of the peers (or variants) to measure.
        workload: names of the workloads to measure.
        rate: events per second and stream.
        seconds: length of one measured window.
        streams: number of streams.
        readers: readers per stream.
    """

    out: Path
    quick: bool = False
    rounds: int | None = None
    only: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()
    rate: tuple[float, ...] = ()
    seconds: float | None = None
    streams: int | None = None
    readers: int | None = None

    def wants(self, name: str) -> bool:
        """Whether this peer is to be measured."""
        return not self.only or name in self.only

    def wants_workload(self, name: str) -> bool:
        """Whether this workload is to be measured."""
        return not self.workload or name in self.workload


@dataclass(frozen=True)
class Stat:
    """Median and spread of the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return _number(self.median)
        return f'{_number(self.median)} ({_number(self.low)}..{_number(self.high)})'


Cell = Stat | float | str | None


@dataclass(frozen=True)
class Row:
    """One line of the table: the peer, the case, and the figures by column."""

    peer: str
    case: str
    values: Mapping[str, Cell]


@dataclass(frozen=True)
class Plot:
    """Lines, or bars if the values of x are strings.

    Attributes:
        name: file name without suffix.
        title: what the plot says.
        x: label and unit of the x axis.
        y: the same of y.
        series: for each label its points (x, y), or (x, y, low, high).
        log_x: logarithmic axis; log_y likewise.
    """

    name: str
    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[Any, ...]]]
    log_x: bool = False
    log_y: bool = False


@dataclass
class Report:
    """The answer to one question.

    Attributes:
        question: its name.
        title: one line, what was measured.
        rows: the table.
        notes: lines below it: what was skipped, ratios, caveats.
        plots: to be drawn.
    """

    question: str
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)


def _number(value: float) -> str:
    if value != value:  # not a number
        return '-'
    if value == 0 or abs(value) >= 100:
        return f'{value:.0f}'
    return f'{value:.3g}'


def text_of(value: Cell) -> str:
    """A cell as text."""
    if value is None:
        return '-'
    return _number(value) if isinstance(value, (int, float)) else str(value)


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, a table for each set of columns."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.values), []).append(row)
    return '\n\n'.join(_table(columns, found) for columns, found in groups.items())


def _table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [['case', 'peer', *columns]]
    for row in rows:
        cells = [text_of(row.values.get(name)) for name in columns]
        lines.append([row.case, row.peer, *cells])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _json(value: Cell) -> Any:
    return vars(value) if isinstance(value, Stat) else value


def publish(report: Report, where: dict[str, Any], out: Path) -> None:
    """Print the table and write the JSON; ``plotting`` draws the plots."""
    print(f'\n## {report.question}: {report.title}\n')
    print(table(report.rows))
    for note in report.notes:
        print(f'- {note}')
    out.mkdir(parents=True, exist_ok=True)
    content = {
        'question': report.question,
        'title': report.title,
        'machine': where,
        'rows': [
            {
                'peer': row.peer,
                'case': row.case,
                **{name: _json(value) for name, value in row.values.items()},
            }
            for row in report.rows
        ],
        'notes': report.notes,
    }
    path = out / f'{report.question}.json'
    path.write_text(json.dumps(content, indent=1) + '\n')
    print(f'- {path}', flush=True)
