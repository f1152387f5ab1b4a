"""Writes a reading as Prometheus' text, as OpenMetrics, or as JSON.

The two texts differ little: OpenMetrics names a counter without ``_total``, has a line
for the unit, knows a type for what is constant, and ends with a line of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final, TypeVar

from shmstream.metrics.reading import Family, Histogram, Reading, WorkerReading

PROMETHEUS_TYPE: Final = 'text/plain; version=0.0.4; charset=utf-8'
OPENMETRICS_TYPE: Final = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

_Number = TypeVar('_Number', int, float)

_NAME: Final = re.compile(r'[A-Za-z0-9_.+-]*')
_TEXT: Final = re.compile(r'[ -~]*')
"""Texts of a reading that comes from elsewhere: names, and what a metric counts."""

_MOST: Final = 1 << 80
"""Sums of words are below this."""

_END_OF_TIME: Final = 1 << 40
"""Unix times below this, in seconds, are dates that ``human`` can show."""


def prometheus(reading: Reading) -> bytes:
    """Return the reading in Prometheus' text format, version 0.0.4."""
    lines = [
        '# HELP shmstream_build_info The version of shmstream.',
        '# TYPE shmstream_build_info gauge',
        _version(reading),
    ]
    for family in reading.families:
        name = family.name + ('_total' if family.kind == 'counter' else '')
        lines += [*_head(name, family), *_samples(family)]
    return _joined(lines)


def openmetrics(reading: Reading) -> bytes:
    """Return the reading as OpenMetrics, version 1.0.0."""
    lines = [
        '# HELP shmstream_build The version of shmstream.',
        '# TYPE shmstream_build info',
        _version(reading),
    ]
    for family in reading.families:
        lines += _head(family.name, family)
        if family.unit:
            lines.append(f'# UNIT {family.name} {family.unit}')
        lines += _samples(family)
    return _joined([*lines, '# EOF'])


def _head(name: str, family: Family) -> list[str]:
    return [f'# HELP {name} {family.text}', f'# TYPE {name} {family.kind}']


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
    """Return a reading from its JSON, which anybody may have sent.

    No text in the reading can steer a terminal, or end a line.

    Raises:
        ValueError: it is not the JSON of a reading.
    """
    try:
        told = json.loads(raw)
        families = [_family(name, found) for name, found in told['metrics'].items()]
        return Reading(
            _number(told['at'], float, _END_OF_TIME),
            _number(told['since'], float, _END_OF_TIME),
            _plain(told['version']),
            told['supervisor_up'] is True,
            tuple(families),
            tuple(map(_worker, told['workers'])),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as ex:
        raise ValueError(f'not the metrics of shmstream: {ex!r}') from ex


def _family(name: str, fields: dict[str, Any]) -> Family:
    histogram = None
    if (found := fields['histogram']) is not None:
        bounds = tuple(_number(bound, float) for bound in found['bounds'])
        buckets = tuple(_number(bucket, int) for bucket in found['buckets'])
        if not bounds or len(buckets) != len(bounds) + 1:
            raise ValueError(f'not the metrics of shmstream: the buckets of {name!r}')
        histogram = Histogram(bounds, buckets, _number(found['total'], float))
    values = {_plain(k): _number(v, int) for k, v in fields['values'].items()}
    kind = _plain(fields['kind'])
    if histogram is None and not fields['label'] and set(values) != {''}:
        raise ValueError(f'not the metrics of shmstream: the values of {name!r}')
    return Family(
        _plain(name),
        kind,  # type: ignore[arg-type]
        _plain(fields['text'], _TEXT),
        _plain(fields['unit']),
        _plain(fields['label']),
        values,
        histogram,
    )


def _worker(fields: dict[str, Any]) -> WorkerReading:
    draining = fields.pop('draining') is True
    numbers = {name: _number(value, int) for name, value in fields.items()}
    return WorkerReading(draining=draining, **numbers)


def _plain(text: Any, form: re.Pattern[str] = _NAME) -> str:
    if not isinstance(text, str) or not form.fullmatch(text):
        raise ValueError(f'not the metrics of shmstream: {text!a:.99}')
    return text


def _number(number: Any, kind: type[_Number], most: int = _MOST) -> _Number:
    there = type(number) is int or (kind is float and type(number) is float)
    if not there or not 0 <= number < most:
        raise ValueError(f'not the metrics of shmstream: {number!a:.99}')
    return kind(number)
