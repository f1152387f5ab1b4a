"""``shmstream doctor``: what will bite this deployment, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from shmstream.cli.options import directory_of, directory_option, json_option
from shmstream.cli.outcome import NOT_DONE, OK
from shmstream.cli.output import coloured, painted, write, write_json
from shmstream.cli.words import counted, safe
from shmstream.defaults import CAPACITY_BYTES
from shmstream.doctor import Finding, Result, examine, examined
from shmstream.doctor.plan import Load, Plan, plan
from shmstream.ring.layout import MAX_CAPACITY, MIN_CAPACITY
from shmstream.sizes import size

_COLOURS = {
    Result.OK: 'green',
    Result.NOTE: 'cyan',
    Result.BITES: 'red',
    Result.UNKNOWN: 'yellow',
}
_MOST = 1_000_000


@click.command()
@directory_option
@click.option(
    '-c',
    '--config',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar='FILE',
    help="gunicorn's configuration file, which is run to read it. Default:"
    ' gunicorn.conf.py here, or that of serve; a gunicorn that runs is asked instead.',
)
@json_option
@click.option('--plan', 'planned', is_flag=True, help='Calculate what a load takes.')
@click.option(
    '--sessions',
    type=click.IntRange(1, 65_536),
    help='With --plan: streams that exist at once, live ones and kept ones.',
)
@click.option(
    '--followers',
    type=click.IntRange(0, _MOST),
    default=0,
    help='With --plan: clients that read them at once, beside those of the POSTs.',
)
@click.option(
    '--bytes',
    'answer_bytes',
    type=click.IntRange(1, 1 << 40),
    default=20_000,
    show_default=True,
    help='With --plan: bytes of an answer.',
)
@click.option(
    '--workers',
    type=click.IntRange(1, 32),
    default=2,
    show_default=True,
    help="With --plan: gunicorn's workers.",
)
@click.option(
    '--ring',
    'ring_bytes',
    type=click.IntRange(MIN_CAPACITY, MAX_CAPACITY),
    default=CAPACITY_BYTES,
    show_default=True,
    help='With --plan: bytes of a ring (SHMSTREAM_SESSION_BYTES).',
)
def command(
    directory: str | None,
    config: Path | None,
    as_json: bool,
    planned: bool,
    sessions: int | None,
    followers: int,
    answer_bytes: int,
    workers: int,
    ring_bytes: int,
) -> None:
    """Check what will bite this deployment, and say what to do.

    If a deployment runs in the runtime directory, it is examined with the settings that
    it runs with; else the one that this environment would start.

    Exit code 0: nothing will bite. 1: something will. 2: the command was misused.
    """
    if planned:
        if sessions is None:
            raise click.UsageError('--plan needs --sessions N')
        load = Load(sessions, followers, answer_bytes, ring_bytes, workers)
        _show_plan(load, plan(load), as_json)
        return
    if sessions is not None:
        raise click.UsageError('--sessions is for --plan')
    findings = examine(examined(directory_of(directory).path, config))
    found = _show_json(findings) if as_json else _show(findings)
    sys.exit(NOT_DONE if Result.BITES in found else OK)


def _show(findings: Iterable[Finding]) -> list[Result]:
    """Write each finding as it comes."""
    results = []
    colours = coloured()
    for finding in findings:
        results.append(finding.result)
        result = f'{finding.result:14}'
        result = painted(result, _COLOURS[finding.result], on=colours)
        write(f'{result} {finding.check}: {safe(finding.what)}')
        if finding.do:
            write(f'{"":14} -> {safe(finding.do)}')
    bite = results.count(Result.BITES)
    missed = results.count(Result.UNKNOWN)
    told = [f'{bite} will bite' if bite else 'nothing will bite']
    if missed:
        told.append(f'{missed} could not look')
    write(f'{counted(len(results), "check")}: {", ".join(told)}')
    return results


def _show_json(findings: Iterable[Finding]) -> list[Result]:
    found = list(findings)
    write_json({'findings': [asdict(each) for each in found]})
    return [each.result for each in found]


def _show_plan(load: Load, found: Plan, as_json: bool) -> None:
    if as_json:
        write_json({'load': asdict(load), 'plan': asdict(found)})
        return
    rows = (
        ('one session, in shared memory', size(found.segment), ''),
        (
            'all sessions',
            size(found.sessions),
            f'SHMSTREAM_MAX_MEMORY={-(-found.sessions // (1 << 20))}MiB'
            f' SHMSTREAM_MAX_SESSIONS={load.sessions}',
        ),
        (
            'file system of the runtime directory',
            size(found.file_system),
            f'--shm-size={-(-found.file_system // (1 << 20))}m, sizeLimit',
        ),
        (f'processes, {load.workers} workers', size(found.processes), ''),
        (
            'all memory, during a reload',
            size(found.memory),
            f'MemoryMax={-(-found.memory // (1 << 20))}M, resources.limits.memory',
        ),
        (
            'descriptors of a process',
            str(found.descriptors),
            f'LimitNOFILE={found.descriptors}',
        ),
        ('mappings of a process', str(found.mappings), 'vm.max_map_count, at least'),
    )
    for what, figure, setting in rows:
        write(f'{what:38}{figure:>10}  {setting}'.rstrip())
