"""``shmstream clean``: remove what dead deployments have left."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from shmstream.cli.options import directory_of, directory_option, json_option
from shmstream.cli.outcome import NOT_DONE, REFUSED, USAGE, Failure
from shmstream.cli.output import note, write, write_json
from shmstream.cli.words import age, counted, safe
from shmstream.errors import DirectoryRefused
from shmstream.inspection.dead import (
    Remains,
    StillInUse,
    remove,
)
from shmstream.inspection.left_behind import left_behind
from shmstream.inspection.orphans import Orphans
from shmstream.sizes import size


@click.command()
@directory_option
@click.option('-n', '--dry-run', is_flag=True, help='Only show what would be removed.')
@click.option('-y', '--yes', is_flag=True, help='Do not ask.')
@click.option(
    '--all-semaphores',
    is_flag=True,
    help='Remove semaphores without a directory also where not all processes can be'
    ' seen that could use them, as in a container.',
)
@json_option
def command(
    directory: str | None,
    dry_run: bool,
    yes: bool,
    all_semaphores: bool,
    as_json: bool,
) -> None:
    """Remove what killed deployments have left.

    These are the runtime directories of this user in /dev/shm, and the one that
    $SHMSTREAM_DIR names, with their streams, pipes and semaphores; and semaphores whose
    directory is gone. With --dir only that directory is looked at. What a deployment
    uses is never touched. A start in a directory would serve its ended streams again,
    so it is shown how many there are.
    """
    left = left_behind(
        directory_of(directory), only=bool(directory), everywhere=all_semaphores
    )
    found, refused, lost = left.directories, left.refused, left.semaphores
    if directory and refused and not as_json:
        raise Failure(refused[0], REFUSED)
    if as_json and not (dry_run or yes):
        raise Failure('--json: with --dry-run or --yes, because nobody is asked', USAGE)
    if not as_json:
        _show(found, lost, refused)
    something = bool(found or lost.paths)
    if something and not (dry_run or yes):
        if not sys.stdin.isatty():
            raise Failure(
                'clean asks first, and nobody can answer here: give --yes or --dry-run',
                USAGE,
            )
        if not click.confirm('Remove all of this?', err=True):
            raise Failure('nothing was removed', NOT_DONE)
    problems = [] if dry_run else _remove(found, lost)
    if as_json:
        write_json(_as_json(found, lost, refused, problems, dry_run))
    elif something and not dry_run:
        for problem in problems:
            note(safe(problem))
        write('removed' if not problems else 'the rest is removed')
    if problems:
        raise Failure('', NOT_DONE)
    if directory and refused:
        raise Failure('', REFUSED)


def _remove(found: Sequence[Remains], lost: Orphans) -> list[str]:
    problems: list[str] = []
    for what in found:
        try:
            problems += [f'{problem} cannot be removed' for problem in remove(what)]
        except (StillInUse, DirectoryRefused) as ex:
            problems.append(f'{ex}: left alone')
    for path in lost.paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as ex:
            problems.append(f'{path} cannot be removed: {ex.strerror}')
    return problems


def _show(found: Sequence[Remains], lost: Orphans, refused: Sequence[str]) -> None:
    for what in found:
        streams = counted(what.sessions, 'stream')
        write(
            f'{safe(str(what.path))}: {streams}, {size(what.memory)},'
            f' {counted(what.pipes, "pipe")}, untouched for'
            f' {age(time.time() - what.newest)}'
        )
    for path in lost.paths:
        write(f'{path}: a semaphore without a directory')
    if not found and not lost.paths:
        write('nothing is left of dead deployments')
    if lost.unsure:
        note(
            f'{counted(lost.unsure, "semaphore")} without a directory left alone:'
            f' {lost.why}; --all-semaphores removes what nobody is seen to use'
        )
    for line in refused:
        note(f'left alone: {line}')


def _as_json(
    found: Sequence[Remains],
    lost: Orphans,
    refused: Sequence[str],
    problems: list[str],
    dry_run: bool,
) -> dict[str, Any]:
    def directory(what: Remains) -> dict[str, Any]:
        return {
            'path': str(what.path),
            'streams': what.sessions,
            'memory': what.memory,
            'pipes': what.pipes,
            'newest': int(what.newest),
        }

    def text(path: Path) -> str:
        return str(path)

    return {
        'dry_run': dry_run,
        'directories': list(map(directory, found)),
        'semaphores': list(map(text, lost.paths)),
        'left_alone': list(refused),
        'semaphores_unsure': lost.unsure,
        'problems': problems,
    }
