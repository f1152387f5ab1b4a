"""A reading that comes over HTTP: anybody may have sent it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shmstream.metrics import exposition, human
from shmstream.metrics.blocks import Blocks
from shmstream.metrics.reading import read

WAKE = 'shmstream_wake_seconds'


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """The JSON of a reading, as Python's objects."""
    tmp_path.chmod(0o700)
    Blocks.create(tmp_path / 'counters')
    return json.loads(exposition.to_json(read(tmp_path)))


def test_a_reading_comes_back_as_it_was(told: Any) -> None:
    raw = json.dumps(told).encode()
    reading = exposition.from_json(raw)
    assert json.loads(exposition.to_json(reading)) == told
    assert 'sessions started' in '\n'.join(human.table(reading))


def test_a_service_of_another_version_may_count_less_and_more(told: Any) -> None:
    assert exposition.from_json(json.dumps(told).encode()).has_all()
    told['metrics']['shmstream_more'] = told['metrics'].pop('shmstream_rings')
    reading = exposition.from_json(json.dumps(told).encode())
    assert not reading.has_all()
    shown = human.table(reading)
    assert any(line.startswith('  naps') for line in shown)
    assert not any(line.startswith('  rings') for line in shown)


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('version',), '1\x1b]0;title\x07'),
        (('since',), 1e300),
        (('since',), 'now'),
        (('at',), float('nan')),
        (('workers',), [{'draining': False, 'slot': '\x1b[2J'}]),
        (('metrics', 'shmstream_rings', 'values'), {'': '\x1b[2J'}),
        (('metrics', 'shmstream_rings', 'values'), {}),
        (('metrics', 'shmstream_sessions', 'values'), {'a\nb': 1}),
        (('metrics', 'shmstream_rings', 'text'), 'rings\nrings 7'),
        (('metrics', WAKE, 'histogram', 'buckets'), [1]),
        (('metrics', WAKE, 'histogram', 'bounds'), ['1']),
    ],
)
def test_what_is_no_reading_is_refused(
    told: Any, path: tuple[str, ...], value: object
) -> None:
    at = told
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    with pytest.raises(ValueError, match='not the metrics of shmstream') as refused:
        exposition.from_json(json.dumps(told).encode())
    assert str(refused.value).isprintable()
