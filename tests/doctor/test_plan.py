"""What is planned is what segments take, and the sums hold together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from shmstream import Streams
from shmstream.cli.main import main
from shmstream.doctor.plan import Load, plan, segment_bytes

RING = 65536


@pytest.mark.parametrize('size', [1, 16_384, 16_385, 20_000, 50_000, 65_536, 200_000])
def test_a_segment_takes_what_is_planned(
    streams: Streams, directory: Path, size: int
) -> None:
    """Written bit by bit, as a model's words come."""
    with streams.create('chat') as producer:
        for at in range(0, size, 100):
            producer.write(bytes(min(100, size - at)))
        (file,) = (directory / 'sessions').iterdir()
        # A stream that goes on has reserved ahead of its next event.
        assert segment_bytes(size, RING) <= file.stat().st_blocks * 512
        assert file.stat().st_blocks * 512 <= segment_bytes(size + 100, RING)


def test_the_sums_hold_together() -> None:
    small = plan(Load(10, 10, 20_000, RING, 2))
    large = plan(Load(1000, 10, 20_000, RING, 2))
    assert large.sessions == 100 * small.sessions
    for each in (small, large):
        assert each.file_system > each.sessions
        assert each.memory == each.file_system + each.processes
        assert each.descriptors >= 2 * each.worker_descriptors
    more = plan(Load(10, 10_000, 20_000, RING, 2))
    assert more.processes > small.processes
    assert more.sessions == small.sessions


def test_the_command_plans() -> None:
    run = CliRunner().invoke
    asked = ['doctor', '--plan', '--sessions', '500', '--followers', '1000']
    shown = run(main, asked)
    assert shown.exit_code == 0
    assert 'SHMSTREAM_MAX_SESSIONS=500' in shown.output
    told = json.loads(run(main, [*asked, '--json']).output)
    assert told['plan']['segment'] == 28 << 10
    assert told['load']['followers'] == 1000
    assert run(main, ['doctor', '--plan']).exit_code == 2
    assert run(main, ['doctor', '--sessions', '5']).exit_code == 2
    assert run(main, [*asked, '--workers', '33']).exit_code == 2
