"""What is done again and again: each timer for itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shmstream.guarded_chores import GuardedChores
from shmstream.supervisor import timers as module
from shmstream.supervisor.timers import Timers


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, 'time', clock)
    return clock


def failing(done: list[str]) -> Callable[[], object]:
    def fail() -> object:
        done.append('fails')
        raise MemoryError

    return fail


def test_f47_a_timer_that_fails_comes_again_and_holds_up_no_other(
    clock: Clock,
) -> None:
    done: list[str] = []
    timers = Timers(GuardedChores('test'))
    timers.every('before', 1, lambda: done.append('before'))
    timers.every('fails', 1, failing(done))
    timers.every('after', 1, lambda: done.append('after'))
    for _ in range(3):
        timers.run()
        assert done == ['before', 'fails', 'after']
        done.clear()
        timers.run()
        assert not done
        assert timers.wait_s == 1
        clock.now += 1


def test_what_is_done_once_is_done_once_and_what_is_hastened_earlier(
    clock: Clock,
) -> None:
    done: list[str] = []
    timers = Timers(GuardedChores('test'))
    timers.every('often', 8, lambda: done.append('often'))
    timers.once('once', 4, lambda: done.append('once'))
    timers.run()
    assert done == ['often']
    timers.hasten('often', 2)
    timers.hasten('often', 3)
    assert timers.wait_s == 2
    clock.now += 2
    timers.run()
    assert done == ['often', 'often']
    clock.now += 8
    timers.run()
    assert sorted(done) == ['often', 'often', 'often', 'once']
    clock.now += 8
    timers.run()
    assert done.count('once') == 1
    # One that hastens itself has its way.
    timers.every('again', 8, lambda: timers.hasten('again', 1))
    timers.run()
    assert timers.wait_s == 1
