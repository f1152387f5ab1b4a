"""Draws a frame of ``top`` as lines, for a screen of whatever size or for a pipe."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from shmstream.cli.output import STATE_COLOURS, painted
from shmstream.cli.selecting import ORDERS, span_s
from shmstream.cli.top_frame import Frame
from shmstream.cli.words import age, cut, fitted, owner_name, safe, width
from shmstream.memory.session_facts import SessionFacts
from shmstream.metrics.reading import Reading
from shmstream.sizes import size

SORTS: Final = tuple(ORDERS)

HELP: Final = (
    ('q', 'quit'),
    ('s S', 'next or previous order'),
    ('r', 'reverse'),
    ('l', 'only streams that go on'),
    ('/', 'only ids with this text'),
    ('arrows PgUp PgDn', 'scroll'),
    ('+ -', 'slower, faster'),
    ('space', 'pause'),
    ('h', 'help'),
)

_COLUMNS: Final[tuple[tuple[str, int, bool, int], ...]] = (
    # Head, columns, to the right, and how much it matters: what matters least is left
    # out first where there is little room.
    ('STATE', 9, False, 9),
    ('RATE', 11, True, 8),
    ('BYTES', 10, True, 7),
    ('FOLLOWERS', 10, True, 6),
    ('AGE', 8, True, 5),
    ('WORKER', 7, True, 4),
    ('RING', 5, True, 3),
    ('OWNER', 8, False, 2),
)
_LEAST_ID = 16
_BAR = 20
_SORTED_BY = {
    'id': 'ID',
    'state': 'STATE',
    'bytes': 'BYTES',
    'rate': 'RATE',
    'age': 'AGE',
    'followers': 'FOLLOWERS',
    'memory': 'RING',
    'worker': 'WORKER',
    'owner': 'OWNER',
}


@dataclass
class View:
    """What the operator wants to see.

    Attributes:
        sort: the order, of ``SORTS``.
        backwards: whether the order is reversed.
        going_on: whether streams that have ended are left out.
        text: only ids that contain this text are shown.
        typing: whether the text is being typed.
        first: the number of the first row that is shown.
        paused: whether the frame stays as it is.
        help: whether the help is shown.
        interval_s: seconds from frame to frame.
    """

    sort: str = 'busy'
    backwards: bool = False
    going_on: bool = False
    text: str = ''
    typing: bool = False
    first: int = 0
    paused: bool = False
    help: bool = False
    interval_s: float = 2.0


def chosen_rows(frame: Frame, view: View) -> list[SessionFacts]:
    """Return the sessions that are wanted, in the order that is wanted."""
    rows = [
        facts
        for facts in frame.sessions
        if not (view.going_on and facts['is_done'])
        and view.text.lower() in facts['conversation_id'].lower()
    ]
    if view.sort == 'rate':
        rows.sort(key=lambda facts: -frame.rate(facts))
    else:
        rows.sort(key=lambda facts: ORDERS[view.sort](facts, frame.at))
    return rows[::-1] if view.backwards else rows


def draw(
    frame: Frame,
    view: View,
    name: str,
    owners: bool,
    columns: int,
    lines: int | None,
    colour: bool,
) -> list[str]:
    """Return the lines of a screen.

    Args:
        frame: what is there.
        view: what is wanted of it. Its ``first`` is corrected if it is too far down.
        name: the place.
        owners: whether streams have several owners.
        columns: the columns of the screen.
        lines: the lines of the screen; None: as many as it takes.
        colour: whether to use colours.
    """
    head = _head(frame, name, columns, colour)
    if lines is not None and lines < len(head) + 3:
        # On a very low screen the streams matter more than the totals.
        head = head[: max(lines - 3, 0)]
    if view.help:
        wide = max(len(keys) for keys, _ in HELP)
        body = [f'  {keys.ljust(wide)}  {what}' for keys, what in HELP]
        body = [cut(line, columns) for line in ['', *body]]
    else:
        rows = chosen_rows(frame, view)
        room = len(rows) if lines is None else max(lines - len(head) - 2, 0)
        view.first = max(min(view.first, len(rows) - room), 0)
        body = _table(frame, view, rows, owners, columns, room, colour)
    if lines is None:
        return head + body
    body = body[: max(lines - len(head) - 1, 0)]
    blank = [''] * (lines - len(head) - len(body) - 1)
    return [*head, *body, *blank, _foot(frame, view, columns, colour)][:lines]


def _head(frame: Frame, name: str, columns: int, colour: bool) -> list[str]:
    reading = frame.reading
    clock = time.strftime('%H:%M:%S', time.localtime(frame.at))
    title = f'shmstream top  {clock}  {safe(name)}'
    lines = [painted(cut(title, columns), 'bold', on=colour)]
    counted = ', '.join(f'{n} {state}' for state, n in frame.states().items() if n)
    total = str(len(frame.sessions))
    if reading is not None and reading.value('sessions_limit'):
        total += f' of {reading.value("sessions_limit")}'
    lines.append(cut(f'streams   {total}{": " if counted else ""}{counted}', columns))
    if reading is None:
        lines.append(cut('deployment  its numbers cannot be read', columns))
        return lines
    totals = frame.totals
    lines.append(
        cut(
            f'rates     in {size(sum(frame.rates.values()))}/s'
            f'  out {size(totals.get("bytes_out", 0))}/s'
            f'  appends {totals.get("appends", 0):.0f}/s'
            f'  wake-ups {totals.get("rings", 0):.0f}/s'
            f'  followers {reading.value("followers")}',
            columns,
        )
    )
    lines.append(_memory(reading, columns, colour))
    workers = ' '.join(
        f'{worker.pid}{" (leaving)" if worker.draining else ""}'
        for worker in reading.workers
    )
    up = 'supervisor up' if reading.supervisor_up else 'NO SUPERVISOR'
    line = cut(f'processes {up}  {len(reading.workers)} attached: {workers}', columns)
    style = '' if reading.supervisor_up else 'red'
    lines.append(painted(line, style, on=colour))
    return lines


def _memory(reading: Reading, columns: int, colour: bool) -> str:
    values = reading.family('memory_bytes').values
    used, pinned, limit = values['used'], values['pinned'], values['limit']
    share = used / limit if limit else 0.0
    filled = min(round(share * _BAR), _BAR)
    bar = '|' * filled + '.' * (_BAR - filled)
    text = f'memory    [{bar}] {size(used)} of {size(limit)} ({share:.0%})'
    if pinned:
        text += f', {size(pinned)} of it removed but still read'
    style = 'red' if share > 0.9 else 'yellow' if share > 0.7 else ''
    return painted(cut(text, columns), style, on=colour)


def _fitting(columns: int, owners: bool) -> list[tuple[str, int, bool, int]]:
    """Return the columns that fit beside an id of some length."""
    there = [one for one in _COLUMNS if owners or one[0] != 'OWNER']
    while there and _LEAST_ID + sum(one[1] + 2 for one in there) > columns:
        there.remove(min(there, key=lambda one: one[3]))
    return there


def _table(
    frame: Frame,
    view: View,
    rows: list[SessionFacts],
    owners: bool,
    columns: int,
    room: int,
    colour: bool,
) -> list[str]:
    there = _fitting(columns, owners)
    shown = rows[view.first : view.first + room]
    left = columns - sum(one[1] + 2 for one in there)
    longest = max((width(safe(f['conversation_id'])) for f in shown), default=0)
    wide = max(min(left, longest), min(_LEAST_ID, left))
    marked = _SORTED_BY.get(view.sort)
    arrow = '^' if view.backwards else 'v'

    def head(text: str, columns: int, right: bool) -> str:
        sign = arrow if text == marked else ''
        return fitted(text + sign, columns, right)

    cells = [head('ID', wide, False)]
    cells += [head(text, size_, right) for text, size_, right, _ in there]
    lines = [painted(fitted('  '.join(cells), columns), 'reverse', on=colour)]
    for facts in shown:
        values = _values(facts, frame)
        cells = [fitted(safe(facts['conversation_id']), wide)]
        for text, size_, right, _ in there:
            cell = fitted(values[text], size_, right)
            style = STATE_COLOURS.get(facts['state'], '') if text == 'STATE' else ''
            cells.append(painted(cell, style, on=colour))
        lines.append('  '.join(cells).rstrip())
    if not rows:
        none = 'no such streams' if frame.sessions else 'no streams'
        lines.append(cut(none, columns))
    return lines


def _values(facts: SessionFacts, frame: Frame) -> dict[str, str]:
    rate = frame.rate(facts)
    held = facts['total_bytes'] - facts['dropped_prefix']
    return {
        'STATE': safe(facts['state']),
        'RATE': f'{size(rate)}/s' if rate else '-',
        'BYTES': size(facts['total_bytes']),
        'FOLLOWERS': str(facts['followers']),
        'AGE': age(span_s(facts, frame.at)),
        'WORKER': str(facts['worker'] or '-'),
        'RING': f'{held / facts["capacity"]:.0%}' if facts['capacity'] else '-',
        'OWNER': owner_name(facts['owner']),
    }


def _foot(frame: Frame, view: View, columns: int, colour: bool) -> str:
    if view.typing:
        return cut(f'only ids with: {safe(view.text)}_', columns)
    if frame.trouble:
        return painted(cut(safe(frame.trouble), columns), 'red', on=colour)
    parts = [f'order {view.sort}{" reversed" if view.backwards else ""}']
    if view.going_on:
        parts.append('only streams that go on')
    if view.text:
        parts.append(f'only ids with {safe(view.text)}')
    if view.paused:
        parts.append('PAUSED')
    parts.append(f'every {view.interval_s:g} s')
    keys = 'q quit  s order  r reverse  l going on  / filter  h help'
    return painted(cut(f'{keys}  |  {", ".join(parts)}', columns), 'dim', on=colour)
