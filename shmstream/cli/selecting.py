"""Which sessions a command means: by id, by owner, by state, and in which order."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import click

from shmstream.cli.outcome import USAGE, Failure
from shmstream.cli.place import Place
from shmstream.cli.words import counted, owner_name, safe
from shmstream.errors import InvalidConversationId
from shmstream.ids import validate_id
from shmstream.memory.session_facts import SessionFacts
from shmstream.ring.state import State

STATES = tuple(state.label for state in State)
NOBODY = '-'

_OWNER = re.compile(r'[0-9a-f]{1,64}')

owner_option = click.option(
    '--owner',
    metavar='DIGEST',
    help='Only streams of this owner: the beginning of its digest, or - for streams'
    ' that were made without a key.',
)

state_option = click.option(
    '--state',
    'states',
    multiple=True,
    type=click.Choice(STATES),
    help='Only streams in this state; may be given several times.',
)


def span_s(facts: SessionFacts, now: float) -> float:
    """Seconds since the stream's end, or since its beginning while it goes on."""
    return max(now - (facts['completed_at'] or facts['started_at']), 0.0)


def mean_rate(facts: SessionFacts, now: float) -> float:
    """Bytes per second since the stream's beginning; 0 once it has ended."""
    if facts['is_done']:
        return 0.0
    return facts['total_bytes'] / max(now - facts['started_at'], 1.0)


def _busy_first(facts: SessionFacts, now: float) -> tuple[Any, ...]:
    return facts['is_done'], span_s(facts, now), facts['conversation_id']


Order = Callable[[SessionFacts, float], Any]

ORDERS: dict[str, Order] = {
    'busy': _busy_first,
    'id': lambda facts, now: facts['conversation_id'],
    'state': lambda facts, now: (STATES.index(_state(facts)), span_s(facts, now)),
    'bytes': lambda facts, now: -facts['total_bytes'],
    'rate': lambda facts, now: -mean_rate(facts, now),
    'age': span_s,
    'followers': lambda facts, now: -facts['followers'],
    'memory': lambda facts, now: -facts['memory'],
    'worker': lambda facts, now: (facts['worker'] is None, facts['worker'] or 0),
    'owner': lambda facts, now: facts['owner'],
}
"""What ``--sort`` takes, and what the sessions are ordered by."""


def _state(facts: SessionFacts) -> str:
    return facts['state'] if facts['state'] in STATES else STATES[-1]


def ordered(
    sessions: Iterable[SessionFacts], sort: str, backwards: bool = False
) -> list[SessionFacts]:
    """Return the sessions in this order."""
    now, order = time.time(), ORDERS[sort]
    return sorted(sessions, key=lambda facts: order(facts, now), reverse=backwards)


def checked_owner(owner: str | None) -> str | None:
    """Return the beginning of a digest, in lower case.

    Raises:
        Failure: it is none.
    """
    if owner is None or owner == NOBODY:
        return owner
    if not _OWNER.fullmatch(owner.lower()):
        raise Failure(
            f'--owner: must be the beginning of a digest, or -, not {safe(owner)}',
            USAGE,
        )
    return owner.lower()


def checked_owner_at(place: Place, owner: str | None) -> str | None:
    """Return the owner that is asked for.

    Raises:
        Failure: the place shows one owner only.
    """
    if owner is not None and not place.has_owners:
        raise Failure('--owner: a key has only its own streams', USAGE)
    return owner


def chosen(
    sessions: Iterable[SessionFacts],
    states: tuple[str, ...] = (),
    owner: str | None = None,
) -> list[SessionFacts]:
    """Return the sessions in these states, of this owner."""
    owner = checked_owner(owner)
    return [
        facts
        for facts in sessions
        if (not states or facts['state'] in states) and _is_of(facts, owner)
    ]


def _is_of(facts: SessionFacts, owner: str | None) -> bool:
    if owner is None:
        return True
    if owner == NOBODY:
        return not facts['owner'].strip('0')
    return facts['owner'].startswith(owner)


def checked_id(conv_id: str) -> str:
    """Return a conversation id.

    Raises:
        Failure: no stream can have it.
    """
    try:
        validate_id(conv_id)
    except InvalidConversationId as ex:
        raise Failure(str(ex), USAGE) from None
    return conv_id


def the_one(place: Place, conv_id: str, owner: str | None) -> SessionFacts:
    """Return the session with this id.

    Raises:
        Failure: there is none, or several owners have one.
    """
    checked_id(conv_id)
    found = chosen(place.named(conv_id), owner=checked_owner_at(place, owner))
    if not found:
        raise Failure(f'{safe(conv_id)}: no such stream')
    if len(found) > 1:
        raise Failure(ambiguous(conv_id, found), USAGE)
    return found[0]


def ambiguous(conv_id: str, found: list[SessionFacts]) -> str:
    """Return the line that says which owners have a stream with this id."""
    names = ', '.join(sorted(owner_name(facts['owner'], 12) for facts in found))
    return (
        f'{safe(conv_id)}: {counted(len(found), "owner")} have such a stream ({names});'
        ' choose one by --owner'
    )
