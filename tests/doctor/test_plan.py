"""What is planned is what segments take, and the sums hold together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from shmstream import Streams
from shmstream.cli.main import main
from shmstream.doctor import plan as figures
from shmstream.doctor.plan import Load, plan, segment_bytes
from tests.support.service import ROOT

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


def test_the_figures_are_those_that_were_measured() -> None:
    file = ROOT / 'docs/benchmarks/sizes/sizes.json'
    rows = json.loads(file.read_text())['rows']
    found = {row['case']: row['figure']['median'] for row in rows}
    answer = found['a live answer of 20 KB with its client, KiB']
    ring = found['a live answer, KiB of segment']
    for planned, measured in (
        (figures.BASE_BYTES / 1024, found['master and supervisor, KiB']),
        (figures.WORKER_BYTES / 1024, found['a worker, KiB']),
        (figures.LIVE_BYTES / 1024, answer - ring),
        (figures.IDLE_DESCRIPTORS, found['a worker, descriptors of all processes']),
        (
            figures.LIVE_DESCRIPTORS,
            found['a live answer with its client, descriptors'],
        ),
    ):
        assert planned == pytest.approx(measured, rel=0.03)
    assert segment_bytes(20_000, 4 << 20) == ring * 1024


def test_the_page_shows_what_the_command_says() -> None:
    page = (ROOT / 'docs/operations/sizing.md').read_text()
    asked = page.partition('$ shmstream ')[2].partition('\n')[0]
    shown = CliRunner().invoke(main, asked.split())
    assert f'```text\n{shown.output}```' in page
