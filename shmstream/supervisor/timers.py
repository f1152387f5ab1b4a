"""Timers by name: they run what is due, and each is guarded by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from shmstream.guarded_chores import GuardedChores


@dataclass
class _Timer:
    action: Callable[[], object]
    every_s: float | None
    due: float


class Timers:
    """Timers by name. A failed action runs again next time, and stops no other timer.

    Args:
        chores: guards the actions.
    """

    def __init__(self, chores: GuardedChores) -> None:
        self._chores = chores
        self._timers: dict[str, _Timer] = {}

    def every(self, name: str, every_s: float, action: Callable[[], object]) -> None:
        """Run an action as soon as possible, and every ``every_s`` seconds then."""
        self._timers[name] = _Timer(action, every_s, time.monotonic())

    def once(self, name: str, in_s: float, action: Callable[[], object]) -> None:
        """Run an action once, in ``in_s`` seconds."""
        self._timers[name] = _Timer(action, None, time.monotonic() + in_s)

    def hasten(self, name: str, in_s: float) -> None:
        """Have the timer of this name run in ``in_s`` seconds at the latest."""
        timer = self._timers[name]
        timer.due = min(timer.due, time.monotonic() + in_s)

    @property
    def wait_s(self) -> float:
        """Seconds until the next timer is due."""
        due = min(timer.due for timer in self._timers.values())
        return max(due - time.monotonic(), 0.0)

    def run(self) -> None:
        """Run the actions that are due."""
        now = time.monotonic()
        for name, timer in list(self._timers.items()):
            if now < timer.due:
                continue
            if timer.every_s is None:
                del self._timers[name]
            else:
                # Set before the action runs, because the action may hasten its timer.
                timer.due = now + timer.every_s
            self._chores.do(name, timer.action, None)
