"""The soak's verdict bites: what nobody was held up in, and took too long, is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.model import World
from tests.chaos.processes import Processes
from tests.chaos.promises import (
    ENDED_S,
    START_S,
    SUPERVISORS,
    THROTTLED_S,
    Machine,
    Stops,
    Wait,
    bound,
)
from tests.chaos.upstream import Upstream
from tests.chaos.verdict import Verdict
from tests.chaos.wall import Wall
from tests.support.service import Service


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    verdict = Verdict(tmp_path / 'log')
    processes = Processes(Service(tmp_path / 'service.log'), verdict)
    yield World(0, 1, verdict, processes, Upstream(0))
    verdict.close()


def waited(world: World, seconds: float) -> int:
    """Somebody waited for so long; how many were late so far."""
    wait = Wait('end', (7, SUPERVISORS), 10, 10, 10 + seconds, ENDED_S, 'somebody')
    world.waits.append(wait)
    world.judge_waits(1e9)
    return world.verdict.count('late')


def test_who_waits_for_longer_than_is_promised_is_late(world: World) -> None:
    assert waited(world, ENDED_S) == 0
    assert world.verdict.slowest == {'end': ENDED_S}
    assert waited(world, ENDED_S + 0.1) == 1
    assert not world.verdict.good


def test_what_was_stopped_may_take_as_much_longer(world: World) -> None:
    world.processes.stops.stopped(7, 0, 10.5)
    world.processes.stops.stopped(8, 0, 100)
    assert waited(world, 1.4) == 0
    assert waited(world, 1.6) == 1


def test_what_this_process_was_late_does_not_count(world: World) -> None:
    world.machine.was_late(10.75, 1.0)
    assert waited(world, 1.7) == 0
    assert waited(world, 1.8) == 1


def test_a_wait_is_judged_when_all_is_known_about_it(world: World) -> None:
    world.waits.append(Wait('end', (7,), 10, 10, 20, ENDED_S, 'somebody'))
    world.judge_waits(15)
    assert not world.verdict.problems
    world.judge_waits(25)
    assert world.verdict.count('late') == 1


def test_the_promise_is_longer_by_what_died_as_well() -> None:
    assert bound(False, [9.5], 10, 11) == ENDED_S
    assert bound(True, [], 10, 11) == ENDED_S
    assert bound(True, [9.5], 10, 11) == ENDED_S + START_S
    assert bound(True, [1.0], 10, 11) == ENDED_S
    two, three = [9.0, 10.1], [2.0, 9.0, 10.1]
    assert bound(True, two, 10, 11) == ENDED_S + 2 * START_S
    assert bound(True, three, 10, 11) == ENDED_S + 2 * START_S + THROTTLED_S


def test_what_was_late_or_stopped_counts_as_far_as_it_falls_into_the_span() -> None:
    machine, stops = Machine(), Stops()
    for at, late in ((5.0, 1.0), (10.5, 1.0), (13.0, 0.5), (20.5, 1.0)):
        machine.was_late(at, late)
        stops.stopped(1, at - late, at)
    assert machine.given(10, 20) == 10 - 0.5 - 0.5 - 0.5
    assert stops.within((1,), 10, 20) == stops.within((None,), 10, 20) == 1.5
    assert stops.within((2,), 10, 20) == 0


def test_the_wall_clock_of_what_is_started_is_set(tmp_path: Path) -> None:
    wall = Wall.build(tmp_path)
    if wall is None:
        pytest.skip('there is no compiler: .ci/debian installs one')
    code = (
        'import sys, time\n'
        'steady = time.clock_gettime(time.CLOCK_BOOTTIME)\n'
        'for _ in sys.stdin:\n'
        '    print(time.time(), time.clock_gettime(time.CLOCK_REALTIME))\n'
        '    print(time.clock_gettime(time.CLOCK_BOOTTIME) - steady, flush=True)\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code],
        env=wall.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def told() -> list[float]:
            assert process.stdin is not None
            assert process.stdout is not None
            print(file=process.stdin, flush=True)
            lines = process.stdout.readline() + process.stdout.readline()
            return [float(each) for each in lines.split()]

        before = told()
        wall.set(86_400)
        after = told()
        process.stdin.close()
    # Steady time says how much has really passed.
    passed = after[2] - before[2]
    for number in (0, 1):
        assert abs(after[number] - before[number] - passed - 86_400) < 3_600
    assert passed < 3_600
