"""What the supervisor does again and again, each guarded by itself."""

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
    """Timers by their names. One that fails comes again, and holds up no other.

    Args:
        chores: guards them.
    """

    def __init__(self, chores: GuardedChores) -> None:
        self._chores = chores
        self._timers: dict[str, _Timer] = {}

    def every(self, name: str, every_s: float, action: Callable[[], object]) -> None:
        """Do something as soon as possible, and every so many seconds from then on."""
        self._timers[name] = _Timer(action, every_s, time.monotonic())

    def once(self, name: str, in_s: float, action: Callable[[], object]) -> None:
        """Do something in so many seconds."""
        self._timers[name] = _Timer(action, None, time.monotonic() + in_s)

    def hasten(self, name: str, in_s: float) -> None:
        """Have a timer run in so many seconds at the latest."""
        timer = self._timers[name]
        timer.due = min(timer.due, time.monotonic() + in_s)

    @property
    def wait_s(self) -> float:
        """Seconds until the next one is due."""
        due = min(timer.due for timer in self._timers.values())
        return max(due - time.monotonic(), 0.0)

    def run(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        for name, timer in list(self._timers.items()):
            if now < timer.due:
                continue
            if timer.every_s is None:
                del self._timers[name]
            else:
                # Before it is done: it may hasten itself.
                timer.due = now + timer.every_s
            self._chores.do(name, timer.action, None)
