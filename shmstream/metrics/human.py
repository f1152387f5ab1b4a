"""Writes a reading as a table for people: grouped, with units, zeros left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from shmstream.metrics.reading import Family, Histogram, Reading
from shmstream.sizes import size

GROUPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        'Sessions',
        (
            *('sessions', 'sessions_limit', 'sessions_started', 'sessions_ended'),
            *('evictions', 'refusals'),
        ),
    ),
    (
        'Streams',
        (
            *('producers', 'appends', 'bytes', 'time_to_first_byte_seconds'),
            'upstream_requests',
        ),
    ),
    ('Readers', ('followers', 'deliveries', 'resumes', 'lost_offsets')),
    ('Wake-ups', ('rings', 'naps', 'wake_seconds')),
    ('Memory', ('memory_bytes',)),
    (
        'Deployment',
        (
            *('workers', 'draining_workers', 'draining_streams', 'supervisor_up'),
            'supervisor_restarts',
        ),
    ),
)

_SHARES: Final = (0.5, 0.9, 0.99)


def table(reading: Reading) -> list[str]:
    """Return the lines of the table."""
    lines = [
        f'shmstream {reading.version}, counted since {_date(reading.since)}',
    ]
    if not reading.supervisor_up:
        lines.append(
            'There is no supervisor now: the numbers of sessions and memory are'
            ' as it has last published them.'
        )
    # A service of another version may count less than this one.
    there = {family.name: family for family in reading.families}
    for title, names in GROUPS:
        lines += ['', title]
        for name in names:
            if (family := there.get(f'shmstream_{name}')) is not None:
                lines += _rows(family)
    lines += ['', *_workers(reading)]
    return lines


def _rows(family: Family) -> Iterator[str]:
    name = family.name.removeprefix('shmstream_').replace('_', ' ')
    unit = family.unit
    if family.histogram is not None:
        yield _row(name.removesuffix(' seconds'), _spread(family.histogram))
        return
    name = name.removesuffix(' bytes')
    if not family.label:
        yield _row(name, _number(family.values[''], unit))
        return
    # A level that is 0 says as much as any other; a counter that is 0 does not.
    shown = {k: v for k, v in family.values.items() if v or family.kind == 'gauge'}
    if not any(shown.values()):
        yield _row(name, '0')
        return
    for value, number in shown.items():
        if number or family.name == 'shmstream_memory_bytes':
            yield _row(f'{name} {value.replace("_", " ")}', _number(number, unit))


def _row(name: str, value: str) -> str:
    return f'  {name:<28}{value:>16}'


def _number(number: int, unit: str) -> str:
    return size(number) if unit == 'bytes' else f'{number:,}'


def _spread(histogram: Histogram) -> str:
    if not histogram.count:
        return '0'
    told = [f'{histogram.count:,}']
    for share in _SHARES:
        bound = histogram.quantile(share)
        assert bound is not None
        most = f'<= {in_seconds(bound)}'
        if bound == float('inf'):
            most = f'> {in_seconds(histogram.bounds[-1])}'
        told.append(f'{share:.0%} {most}')
    return ', '.join(told)


def in_seconds(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds >= 1:
        return f'{seconds:g} s'
    return f'{seconds * 1e3:g} ms' if seconds >= 1e-3 else f'{seconds * 1e6:g} us'


def _workers(reading: Reading) -> Iterator[str]:
    yield f'  {"slot":>4}{"pid":>9}{"streams":>9}{"followers":>11}{"in":>12}{"out":>12}'
    for worker in reading.workers:
        leaving = '  leaving' if worker.draining else ''
        yield (
            f'  {worker.slot:>4}{worker.pid:>9}{worker.producers:>9}'
            f'{worker.followers:>11}{size(worker.bytes_in):>12}'
            f'{size(worker.bytes_out):>12}{leaving}'
        )


def _date(seconds: float) -> str:
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))
