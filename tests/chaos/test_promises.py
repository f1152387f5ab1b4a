"""The soak's verdict bites: what nobody was held up in, and took too long, is told."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.content import PACES, Script
from tests.chaos.follow import Follow
from tests.chaos.model import Chat, Session, World
from tests.chaos.processes import Processes
from tests.chaos.promises import (
    ENDED_S,
    START_S,
    SUPERVISORS,
    THROTTLED_S,
    Delays,
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


def waited(world: World, seconds: float, *on_the_way: int | None) -> int:
    """Somebody waited for so long; how many were late so far."""
    wait = Wait('end', on_the_way or (7,), 10, 10, 10 + seconds, ENDED_S, 'somebody')
    world.waits.append(wait)
    world.judge_waits(1e9)
    return world.verdict.count('late')


def excuses(world: World) -> list[str]:
    """What the log says was excused."""
    lines = world.verdict.log.read_text().splitlines()
    return [line for line in lines if ' excused ' in line]


def be_busy(delays: Delays, name: int, share: float, until: int = 60) -> None:
    """This one was not let run for so much of the time."""
    for tenth in range(until * 10):
        delays.saw(name, name, tenth / 10, tenth / 10 * share)


def test_who_waits_for_longer_than_is_promised_is_late(world: World) -> None:
    assert waited(world, ENDED_S) == 0
    assert world.verdict.slowest == {'end': ENDED_S}
    assert waited(world, ENDED_S + 0.1) == 1
    assert not world.verdict.good


def test_what_was_stopped_may_take_as_much_longer(world: World) -> None:
    world.processes.stops.stopped(7, 0, 10.5)
    world.processes.stops.stopped(8, 0, 100)
    assert waited(world, 1.4) == 0
    assert len(excuses(world)) == 1
    assert 'stopped 0.50 s, not let run 0.00 s' in excuses(world)[0]
    assert waited(world, 1.6) == 1
    assert len(excuses(world)) == 1


def test_the_supervisor_excuses_only_what_waits_for_it(world: World) -> None:
    world.processes.stops.stopped(SUPERVISORS, 9.9, 16.9)
    be_busy(world.processes.delays, SUPERVISORS, 0.9)
    assert waited(world, 1.1, 7, SUPERVISORS) == 0
    assert waited(world, 1.1, 7, 8) == 1
    # Nor where it is not known which worker it was.
    assert waited(world, 1.1, 7, None) == 2


def test_who_is_on_the_way_of_an_end(world: World) -> None:
    world.processes.stops.stopped(SUPERVISORS, 0, 100)
    chat = Chat('chat')
    for end, late in (('complete', 1), ('cancelled', 2), ('killed', 2)):
        script = Script('chat', end, b'', 'complete', 0, PACES[0], 0.0, producer=8)
        follow = Follow(world, chat, random.Random(0), Session(end, [script]), 0)
        follow._silences.append((10, 17))
        follow.stall_until = follow.asked_at = 5
        follow._waited(end, 10.0, killed=end == 'killed')
        world.judge_waits(1e9)
        assert world.verdict.count('late') == late, end


def test_processes_that_are_busy_excuse_what_one_of_them_waited(world: World) -> None:
    for name in (7, 8, SUPERVISORS):
        be_busy(world.processes.delays, name, 0.34)
    # A third of 1.5 seconds, whoever else waited; and not all of 20 seconds.
    assert waited(world, 1.5, 7, 8, SUPERVISORS) == 0
    assert 'stopped 0.00 s, not let run 0.51 s' in excuses(world)[0]
    assert waited(world, 1.6, 7, 8, SUPERVISORS) == 1
    assert waited(world, 20, 7, 8, SUPERVISORS) == 2
    assert waited(world, 1.1, 9) == 3


def test_what_was_not_let_run_counts_as_far_as_it_falls_into_the_span() -> None:
    delays = Delays()
    for now, waited_s in ((9.0, 0.0), (11.0, 2.0), (11.1, 2.0), (15.0, 2.0)):
        delays.saw(7, 70, now, waited_s)
    # Another process of that name, of which nothing was seen before.
    delays.saw(7, 71, 14.0, 0.5)
    assert delays.within((7,), 10, 20) == 1.5
    assert delays.within((None,), 10, 20) == 1.5
    assert delays.within((7,), 12, 13) == 0
    assert delays.within((8, SUPERVISORS), 0, 20) == 0
    # Half of what was not let run in two seconds was so in one of them.
    delays.saw(8, 8, 20.0, 0.0)
    delays.saw(8, 8, 22.0, 1.0)
    assert delays.within((8,), 21, 30) == 0.5


def test_a_process_of_its_own_is_seen_to_wait_or_not() -> None:
    delays = Delays()
    delays.look(7, os.getpid(), 10.0)
    waited_s = int(Path('/proc/self/schedstat').read_text().split()[1]) / 1e9
    assert 0 <= delays.within((7,), 0, 20) <= waited_s
    delays.look(7, -1, 11.0)


def test_what_this_process_was_late_does_not_count(world: World) -> None:
    world.machine.was_late(10.75, 1.0)
    assert waited(world, 1.7) == 0
    assert 'ourselves late by 0.75 s' in excuses(world)[0]
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
    # Two at once are no longer stopped than one.
    stops.stopped(3, 12.5, 14.0)
    assert stops.within((1, 3), 10, 20) == 0.5 + 1.5 + 0.5


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
