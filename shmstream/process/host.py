"""Who runs this process: a server that has workers, or nobody.

The library asks whoever runs the process for three things only (``Host``). A deployment
says who that is, in each worker, by ``run_by``; so the library knows no server. Without
it nobody does: the process is its own master, and is never told to leave.
"""

from __future__ import annotations

from typing import Protocol


class Host(Protocol):
    """Whoever runs this process."""

    def masters(self) -> list[int] | None:
        """The master, while it lives: an orphan must not start a supervisor.

        Returns:
            None if there is no master but the process itself.
        """

    def leaving(self) -> bool:
        """Whether this process has been told to stop serving."""

    def notify(self) -> None:
        """Tell it that this process is alive, while a request takes its only thread."""


class Nobody:
    """The host of a process that no server runs."""

    def masters(self) -> list[int] | None:
        """There are none."""
        return None

    def leaving(self) -> bool:
        """Nobody tells it."""
        return False

    def notify(self) -> None:
        """Nobody wants to know."""


_host: Host = Nobody()


def run_by(host: Host) -> None:
    """Say who runs this process; of several, the last counts."""
    global _host
    _host = host


def current() -> Host:
    """Who runs this process, as far as has been said by now."""
    return _host
