"""Writes a reading as Prometheus' text, as OpenMetrics, or as JSON.

The two texts differ little: OpenMetrics names a counter without ``_total``, has a line
for the unit, knows a type for what is constant, and ends with a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from shmstream.metrics.reading import Family, Histogram, Reading, WorkerReading

PROMETHEUS_TYPE: Final = 'text/plain; version=0.0.4; charset=utf-8'
OPENMETRICS_TYPE: Final = 'application/openmetrics-text; version=1.0.0; charset=utf-8'


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
    """Return a reading from its JSON.

    Raises:
        ValueError: it is not the JSON of a reading.
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
        return Reading(
            told['at'],
            told['since'],
            told['version'],
            told['supervisor_up'],
            tuple(families),
            tuple(WorkerReading(**fields) for fields in told['workers']),
        )
    except (KeyError, TypeError, AttributeError) as ex:
        raise ValueError(f'not the metrics of shmstream: {ex!r}') from ex
