"""The workers of this worker's gunicorn, and what may be done to them.

A worker is a child of the master in the master's session. The supervisor may be the
master's child as well, but has a session of its own (``supervisor.spawn``).

All of it reads ``/proc``, so on an event loop it belongs into a thread.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from shmstream.deploy.worker_life import WorkerLife


class OtherWorkers:
    """The workers of one master.

    Args:
        life: the life of this process.

    Example::

        workers = OtherWorkers(worker_life.current)
        if workers.master() is not None:
            workers.restart()
    """

    def __init__(self, life: WorkerLife) -> None:
        self._life = life

    def master(self) -> int | None:
        """Return the master's pid; None if there is none that this process may signal.

        There is none under other servers than gunicorn. If the master runs as another
        user than its workers, they may not signal it.
        """
        masters = self._life.masters()
        if not masters:
            return None
        try:
            os.kill(masters[0], 0)
        except OSError:
            return None
        return masters[0]

    def pids(self) -> list[int]:
        """Return the pids of the workers, also of those that are leaving; not sorted.

        Returns:
            An empty list if ``master()`` is None.
        """
        master = self.master()
        if master is None:
            return []
        try:
            children = Path(f'/proc/{master}/task/{master}/children').read_text()
        except OSError:
            # The master has gone, or this kernel does not tell.
            return []
        return [pid for pid in map(int, children.split()) if _is_of(pid, master)]

    def restart(self) -> bool:
        """Have the master replace its workers, as ``kill -HUP`` does.

        Returns:
            Whether there is a master to tell.
        """
        master = self.master()
        if master is not None:
            os.kill(master, signal.SIGHUP)
        return master is not None

    def kill(self, pid: int) -> bool:
        """Kill a worker, as the kernel does if memory runs out.

        Args:
            pid: the worker's; it may be this process's own.

        Returns:
            False, with nothing done, if no worker has this pid.
        """
        try:
            # The descriptor goes on naming this process, also if its pid is used again.
            process = os.pidfd_open(pid)
        except (OSError, OverflowError):
            return False
        try:
            if pid not in self.pids():
                return False
            signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(process)
        return True


def _is_of(pid: int, master: int) -> bool:
    try:
        return os.getsid(pid) == os.getsid(master)
    except ProcessLookupError:
        return False
