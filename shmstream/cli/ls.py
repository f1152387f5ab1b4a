"""``shmstream ls``: the streams that are there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from shmstream.cli.options import json_option, place_options
from shmstream.cli.output import (
    STATE_COLOURS,
    Progress,
    coloured,
    note,
    table,
    terminal_columns,
    write,
    write_json,
)
from shmstream.cli.place import Place
from shmstream.cli.selecting import (
    ORDERS,
    checked_owner_at,
    chosen,
    mean_rate,
    ordered,
    owner_option,
    span_s,
    state_option,
)
from shmstream.cli.words import age, counted, owner_name, safe, width
from shmstream.memory.session_facts import SessionFacts
from shmstream.sizes import size

HEADS = ('ID', 'STATE', 'BYTES', 'RATE', 'AGE', 'FOLLOWERS', 'WORKER', 'OWNER')
_LEFT_OUT = ('OWNER', 'WORKER', 'AGE', 'FOLLOWERS', 'RATE', 'BYTES', 'STATE')
"""What a narrow terminal does not show: what matters least is left out first."""

_LEAST_ID = 16
RIGHT = (False, False, True, True, True, True, True, False)


@click.command()
@place_options
@state_option
@owner_option
@click.option(
    '--sort',
    type=click.Choice(list(ORDERS)),
    default='busy',
    show_default=True,
    help='Order of the streams. busy: those that go on first, the youngest first.',
)
@click.option('-r', '--reverse', is_flag=True, help='The other way round.')
@json_option
def command(
    place: Place,
    states: tuple[str, ...],
    owner: str | None,
    sort: str,
    reverse: bool,
    as_json: bool,
) -> None:
    """List the streams.

    On a runtime directory these are the streams of all owners, also while no supervisor
    runs. On a URL they are the streams of the key. RATE is bytes per second since the
    beginning, AGE the time since the end, or since the beginning while a stream goes
    on.
    """
    owner = checked_owner_at(place, owner)
    with Progress('streams') as progress:
        sessions = chosen(place.sessions(progress), states, owner)
    sessions = ordered(sessions, sort, reverse)
    if as_json:
        write_json(sessions)
    else:
        for line in lines_of(sessions, place.has_owners, terminal_columns()):
            write(line)
    for warning in place.warnings():
        note(warning)


def lines_of(
    sessions: list[SessionFacts], owners: bool, columns: int | None
) -> list[str]:
    """Return the table, or the line that says that there is nothing."""
    if not sessions:
        return [counted(0, 'stream')]
    now, colours = time.time(), coloured()
    shown = len(HEADS) if owners else len(HEADS) - 1
    rows = [_cells(facts, now) for facts in sessions]
    there = _fitting(rows, list(range(shown)), columns)

    def picked(cells: Sequence[Any]) -> list[Any]:
        return [cells[at] for at in there]

    return table(
        picked(HEADS),
        list(map(picked, rows)),
        picked(RIGHT),
        [picked(_styles(facts)) for facts in sessions] if colours else (),
        columns,
        colours,
    )


def _fitting(rows: list[list[str]], there: list[int], columns: int | None) -> list[int]:
    """Return the columns of the table that fit beside an id of some length."""
    wide = [max(map(width, cells)) for cells in zip(HEADS, *rows, strict=True)]
    least = min(wide[0], _LEAST_ID)
    for head in _LEFT_OUT:
        needed = least + sum(wide[at] + 2 for at in there[1:])
        if columns is None or needed <= columns:
            break
        there = [at for at in there if HEADS[at] != head]
    return there


def _cells(facts: SessionFacts, now: float) -> list[str]:
    rate = mean_rate(facts, now)
    return [
        safe(facts['conversation_id']),
        safe(facts['state']),
        size(facts['total_bytes']),
        f'{size(rate)}/s' if rate else '-',
        age(span_s(facts, now)),
        str(facts['followers']),
        str(facts['worker'] or '-'),
        owner_name(facts['owner']),
    ]


def _styles(facts: SessionFacts) -> list[str]:
    state = STATE_COLOURS.get(facts['state'], '')
    return ['', state, *[''] * (len(HEADS) - 2)]
