"""``shmstream show``: everything about one stream."""

from __future__ import annotations

import time
from typing import Any

import click

from shmstream.cli.completing import complete_ids
from shmstream.cli.options import json_option, place_options
from shmstream.cli.output import (
    STATE_COLOURS,
    coloured,
    note,
    painted,
    write,
    write_json,
)
from shmstream.cli.place import Place
from shmstream.cli.selecting import mean_rate, owner_option, the_one
from shmstream.cli.words import age, owner_name, safe, width
from shmstream.memory.session_facts import SessionFacts
from shmstream.sizes import size


@click.command()
@click.argument('conv_id', metavar='ID', shell_complete=complete_ids)
@place_options
@owner_option
@json_option
def command(place: Place, conv_id: str, owner: str | None, as_json: bool) -> None:
    """Show everything about one stream.

    It needs no supervisor. --owner is needed only if several owners have a stream with
    this id.
    """
    facts = the_one(place, conv_id, owner)
    more = place.more(facts)
    if as_json:
        write_json({**facts, **more})
        return
    rows = _rows(facts, more)
    wide = max(width(name) for name, _ in rows)
    for name, value in rows:
        write(f'{painted(name.ljust(wide), "bold", on=coloured())}  {value}')
    for warning in place.warnings():
        note(warning)


def _rows(facts: SessionFacts, more: dict[str, Any]) -> list[tuple[str, str]]:
    now = time.time()
    total, dropped = facts['total_bytes'], facts['dropped_prefix']
    rows = [
        ('id', safe(facts['conversation_id'])),
        ('state', _state(facts)),
        ('generation', safe(facts['generation'])),
        ('bytes', f'{total} ({size(total)}), of which {total - dropped} are held'),
    ]
    if dropped:
        rows.append(('dropped', f'the first {dropped} bytes ({size(dropped)})'))
    if rate := mean_rate(facts, now):
        rows.append(('rate', f'{size(rate)}/s since the beginning'))
    rows += [
        ('ring', f'{size(facts["capacity"])}, {size(facts["memory"])} of it in memory'),
        ('followers', str(facts['followers'])),
        ('started', _when(facts['started_at'], now)),
    ]
    if facts['is_done']:
        rows.append(('ended', _when(facts['completed_at'], now)))
    rows.append(('worker', _worker(facts)))
    if facts['owner']:
        whose = 'nobody: made without a key'
        if owner_name(facts['owner']) != '-':
            whose = facts['owner']
        rows.append(('owner', whose))
    for name in ('content_type', 'dialect', 'alias', 'failure'):
        if value := str(facts[name]):
            rows.append((name.replace('_', ' '), safe(value)))
    rows += [('header', safe(line)) for line in more.get('headers', ())]
    rows += [(name, safe(more[name])) for name in ('file', 'url') if name in more]
    return rows


def _state(facts: SessionFacts) -> str:
    state = facts['state']
    return painted(safe(state), STATE_COLOURS.get(state, ''), on=coloured())


def _worker(facts: SessionFacts) -> str:
    if facts['worker']:
        verb = 'wrote' if facts['is_done'] else 'writes'
        return f'process {facts["worker"]} {verb} it'
    if facts['is_done']:
        return 'the process that wrote it has left'
    return 'none: the process that wrote it has died'


def _when(at: int, now: float) -> str:
    try:
        stamp = time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(at))
    except (OverflowError, OSError, ValueError):
        # A service may tell any number.
        return str(at)
    return f'{stamp} ({age(now - at)} ago)'
