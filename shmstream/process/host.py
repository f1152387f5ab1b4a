"""The host of this process: the server that runs it as a worker, or nobody.

The library asks the host two questions only (``Host``), and tells it that the process
is alive. The deployment calls ``run_by`` in each worker to name the host, so the
library itself knows no server. Without a host the process is its own master, and is
never told to leave.
"""

from __future__ import annotations

from typing import Protocol


class Host(Protocol):
    """The server that runs this process."""

    def masters(self) -> list[int] | None:
        """The process ids of the masters that live.

        Returns:
            Empty if the master has died: an orphan must not start a supervisor. None if
            the process is its own master.
        """

    def leaving(self) -> bool:
        """Whether this process has been told to stop serving."""

    def notify(self) -> None:
        """Tell the host that this process is alive while a request has its thread."""


class Nobody:
    """The host of a process that no server runs."""

    def masters(self) -> list[int] | None:
        """None: the process is its own master."""
        return None

    def leaving(self) -> bool:
        """False: the process is never told to leave."""
        return False

    def notify(self) -> None:
        """Nothing to do: nobody is to be told."""


_host: Host = Nobody()


def run_by(host: Host) -> None:
    """Name the host of this process; the last call counts."""
    global _host
    _host = host


class Named:
    """The host that ``run_by`` has named, looked up at each call.

    An application may attach before its worker is forked, and only the worker knows its
    host.
    """

    def masters(self) -> list[int] | None:
        """As the named host says."""
        return _host.masters()

    def leaving(self) -> bool:
        """As the named host says."""
        return _host.leaving()

    def notify(self) -> None:
        """Tell the named host."""
        _host.notify()
