"""Writes a reading as Prometheus' text, as OpenMetrics, or as JSON.

The two texts differ little: OpenMetrics names a counter without ``_total``, has a line
for the unit, knows a type for what is constant, and ends with a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from shmstream.metrics.catalogue import METRICS
from shmstream.metrics.reading import Family, Histogram, Reading, WorkerReading

PROMETHEUS_TYPE: Final = 'text/plain; version=0.0.4; charset=utf-8'
OPENMETRICS_TYPE: Final = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

_LAST_S: Final = 253_402_300_799
"""The end of the year 9999."""


def prometheus(reading: Reading) -> bytes:
    """Return the reading in Prometheus' text format, version 0.0.4."""
    lines = [
        '# HELP shmstream_build_info The version of shmstream.',
        '# TYPE shmstream_build_info gauge',
        _version(reading),
    ]
    for family in reading.families:
        name = family.name + ('_total' if family.kind == 'counter' else '')
        lines += [f'# HELP {name} {family.text}', f'# TYPE {name} {family.kind}']
        lines += _samples(family)
    return _joined(lines)


def openmetrics(reading: Reading) -> bytes:
    """Return the reading as OpenMetrics, version 1.0.0."""
    lines = [
        '# HELP shmstream_build The version of shmstream.',
        '# TYPE shmstream_build info',
        _version(reading),
    ]
    for family in reading.families:
        name = family.name
        lines += [f'# HELP {name} {family.text}', f'# TYPE {name} {family.kind}']
        if family.unit:
            lines.append(f'# UNIT {name} {family.unit}')
        lines += _samples(family)
    return _joined([*lines, '# EOF'])


def _version(reading: Reading) -> str:
    return f'shmstream_build_info{{version="{reading.version}"}} 1'


def _joined(lines: list[str]) -> bytes:
    return '\n'.join([*lines, '']).encode()


def _samples(family: Family) -> Iterator[str]:
    if family.histogram is not None:
        yield from _buckets(family.name, family.histogram)
        return
    name = family.name + ('_total' if family.kind == 'counter' else '')
    for value, number in family.values.items():
        label = f'{{{family.label}="{value}"}}' if family.label else ''
        yield f'{name}{label} {number}'


def _buckets(name: str, histogram: Histogram) -> Iterator[str]:
    count = 0
    bounds = [*map(repr, map(float, histogram.bounds)), '+Inf']
    for bound, number in zip(bounds, histogram.buckets, strict=True):
        count += number
        yield f'{name}_bucket{{le="{bound}"}} {count}'
    yield f'{name}_count {count}'
    yield f'{name}_sum {histogram.total!r}'


def to_json(reading: Reading) -> bytes:
    """Return the reading as JSON, which ``from_json`` reads."""
    metrics: dict[str, Any] = {}
    for family in reading.families:
        fields = asdict(family)
        del fields['name']
        metrics[family.name] = fields
    return json.dumps(
        {
            'at': reading.at,
            'since': reading.since,
            'version': reading.version,
            'supervisor_up': reading.supervisor_up,
            'metrics': metrics,
            'workers': list(map(asdict, reading.workers)),
        }
    ).encode()


def from_json(raw: bytes) -> Reading:
    """Return a reading from its JSON, whoever has written that.

    Raises:
        ValueError: it is not the JSON of a reading that has all metrics of this
            version.
    """
    try:
        told = json.loads(raw)
        families = []
        for name, fields in told['metrics'].items():
            found = fields.pop('histogram')
            histogram = None
            if found is not None:
                histogram = Histogram(
                    tuple(found['bounds']), tuple(found['buckets']), found['total']
                )
            families.append(Family(name, **fields, histogram=histogram))
        reading = Reading(
            told['at'],
            told['since'],
            told['version'],
            told['supervisor_up'],
            tuple(families),
            tuple(WorkerReading(**fields) for fields in told['workers']),
        )
        _check(reading)
        return reading
    except (KeyError, TypeError, AttributeError) as ex:
        raise ValueError(f'not the metrics of shmstream: {ex!r}') from ex


def _check(reading: Reading) -> None:
    """Raise ``ValueError`` or ``KeyError`` if a part is missing, or of another kind."""
    times = reading.at, reading.since
    good = all(type(at) in (int, float) and 0 <= at <= _LAST_S for at in times)
    good = good and type(reading.version) is str and type(reading.supervisor_up) is bool
    for worker in reading.workers:
        fields = asdict(worker)
        good = good and type(fields.pop('draining')) is bool
        good = good and all(map(_is_count, fields.values()))
    for family in reading.families:
        texts = family.name, family.kind, family.text, family.unit, family.label
        good = good and all(type(text) is str for text in texts)
        good = good and all(map(_is_count, family.values.values()))
        if (found := family.histogram) is not None:
            good = good and all(map(_is_count, found.buckets))
            good = good and all(type(bound) is float for bound in found.bounds)
            good = good and len(found.buckets) == len(found.bounds) + 1
            good = good and type(found.total) in (int, float)
    for metric in METRICS:
        family = reading.family(metric.full_name)
        if metric.kind == 'histogram':
            good = good and family.histogram is not None
        else:
            good = good and family.values.keys() >= set(metric.values)
    for name in ('workers', 'draining_streams', 'supervisor_up'):
        reading.value(name, '')
    if not good:
        raise ValueError('not the metrics of this version of shmstream')


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 64
