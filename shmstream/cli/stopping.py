"""What ``stop`` and ``evict`` have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from shmstream.cli.completing import complete_ids
from shmstream.cli.options import json_option, place_options
from shmstream.cli.outcome import NOT_DONE, USAGE, Failure
from shmstream.cli.output import Progress, note, write, write_json
from shmstream.cli.place import Place
from shmstream.cli.selecting import (
    ambiguous,
    checked_id,
    checked_owner_at,
    chosen,
    owner_option,
    state_option,
)
from shmstream.cli.words import counted, owner_name, safe
from shmstream.memory.session_facts import SessionFacts

_TOLD = {
    'stopped': 'stopped',
    'evicted': 'stopped and removed',
    'over': 'had ended already',
    'gone': 'was gone already',
    'not found': 'no such stream',
    'not done': 'not done',
}

_DONE = frozenset({'stopped', 'evicted', 'over'})


def ending(name: str, evict: bool, text: str) -> click.Command:
    """Return the command ``stop`` or ``evict``.

    Args:
        name: its name.
        evict: whether it removes the streams as well.
        text: its help.
    """
    decorators: tuple[Callable[[Any], Any], ...] = (
        click.command(name, help=text),
        click.argument(
            'conv_ids', metavar='[ID]...', nargs=-1, shell_complete=complete_ids
        ),
        place_options,
        click.option(
            '--all',
            'everything',
            is_flag=True,
            help='All streams, or those'
            ' that --state and --owner choose. Asks before it does it.',
        ),
        state_option,
        owner_option,
        click.option('-y', '--yes', is_flag=True, help='Do not ask.'),
        json_option,
    )

    def command(
        place: Place,
        conv_ids: tuple[str, ...],
        everything: bool,
        states: tuple[str, ...],
        owner: str | None,
        yes: bool,
        as_json: bool,
    ) -> None:
        owner = checked_owner_at(place, owner)
        if everything == bool(conv_ids):
            raise Failure('name the streams by their ids, or all by --all', USAGE)
        if states and not everything:
            raise Failure('--state: only with --all', USAGE)
        if everything:
            with Progress('streams') as progress:
                sessions = chosen(place.sessions(progress), states, owner)
            if not evict:
                sessions = [facts for facts in sessions if not facts['is_done']]
            if sessions and not yes:
                _ask(name, sessions, place)
            results: list[dict[str, str]] = []
        else:
            sessions, results = _find(place, conv_ids, owner)
        failure = _end_all(place, sessions, evict, results)
        _tell(results, as_json)
        if failure is not None:
            raise failure
        if any(result['result'] not in _DONE for result in results):
            raise Failure('', NOT_DONE)

    made: Any = command
    for decorator in reversed(decorators):
        made = decorator(made)
    return made  # type: ignore[no-any-return]


def _ask(name: str, sessions: list[SessionFacts], place: Place) -> None:
    if not sys.stdin.isatty():
        raise Failure('--all asks first, and nobody can answer here: give --yes', USAGE)
    owners = len({facts['owner'] for facts in sessions})
    of = f' of {counted(owners, "owner")}' if place.has_owners else ''
    question = f'{name.capitalize()} {counted(len(sessions), "stream")}{of}?'
    if not click.confirm(question, err=True):
        raise Failure('nothing was done', NOT_DONE)


def _find(
    place: Place, conv_ids: tuple[str, ...], owner: str | None
) -> tuple[list[SessionFacts], list[dict[str, str]]]:
    """Return the sessions with these ids, and a result for each id that has none."""
    found: list[SessionFacts] = []
    results: list[dict[str, str]] = []
    asked = list(dict.fromkeys(map(checked_id, conv_ids)))
    named = place.named
    if place.has_owners and len(asked) > 1:
        # A directory is read once for all ids.
        there = place.sessions(lambda _: None)

        def named(conv_id: str) -> list[SessionFacts]:
            return [facts for facts in there if facts['conversation_id'] == conv_id]

    for conv_id in asked:
        those = chosen(named(conv_id), owner=owner)
        if len(those) > 1:
            # Said before anything is done.
            raise Failure(ambiguous(conv_id, those), USAGE)
        if not those:
            results.append(_result(conv_id, '', '', 'not found'))
        found += those
    return found, results


def _end_all(
    place: Place,
    sessions: list[SessionFacts],
    evict: bool,
    results: list[dict[str, str]],
) -> Failure | None:
    """End these sessions, and add a result for each; return what kept it from that."""
    failure: Failure | None = None
    with Progress('streams dealt with') as progress:
        for facts in sessions:
            what = 'over' if facts['is_done'] and not evict else 'not done'
            if failure is None and what != 'over':
                try:
                    what = place.stop(facts, evict)
                except Failure as ex:
                    failure = ex
            results.append(
                _result(
                    facts['conversation_id'],
                    facts['owner'],
                    facts['generation'],
                    what,
                )
            )
            progress(len(results))
    return failure


def _result(conv_id: str, owner: str, generation: str, what: str) -> dict[str, str]:
    return {
        'conversation_id': conv_id,
        'owner': owner,
        'generation': generation,
        'result': what,
    }


def _tell(results: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        write_json(results)
    for result in results if not as_json else ():
        name = owner_name(result['owner'])
        whose = f' (owner {name})' if name != '-' else ''
        line = f'{safe(result["conversation_id"])}{whose}: {_TOLD[result["result"]]}'
        if result['result'] in _DONE:
            write(line)
        else:
            note(line)
    if not results and not as_json:
        note('there is no such stream')
