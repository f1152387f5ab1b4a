"""The processes that a supervisor works for: gunicorn masters, or a script.

They are watched through pidfds, so that the death of a master is noticed at once,
however it dies, and another process with the same pid is never mistaken for it.
"""

from __future__ import annotations

import errno
import os
import selectors
from collections.abc import Callable
from typing import Any


class MasterWatch:
    """The set of masters. A pidfd becomes readable when its process ends.

    Args:
        selector: watches the pidfds.
        all_gone: called when no master is left.
        bound: whether the supervisor is started for masters. One that is not works on
            without any, until it is told to stop; but once a master has joined, it ends
            when no master is left.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        all_gone: Callable[[], None],
        bound: bool,
    ) -> None:
        self._bound = bound
        self._selector = selector
        self._all_gone = all_gone
        self._by_fd: dict[int, int] = {}

    @property
    def pids(self) -> list[int]:
        """The pids of all masters, in order."""
        return sorted(self._by_fd.values())

    def watch(self, pid: int) -> None:
        """Work for one more master; if it has gone already, note that.

        Raises:
            ValueError: no process has such a pid.
        """
        if pid <= 0:
            raise ValueError(f'no process has the number {pid}')
        if pid in self._by_fd.values():
            return
        try:
            fd = os.pidfd_open(pid)
        except (OSError, OverflowError) as ex:
            # EINVAL or ENOENT: the number is a thread's by now, so the master has gone.
            gone = (errno.ESRCH, errno.EINVAL, errno.ENOENT)
            if isinstance(ex, OSError) and ex.errno not in gone:
                raise
            if self._bound and not self._by_fd:
                self._all_gone()
            return
        self._bound = True
        self._by_fd[fd] = pid
        self._selector.register(fd, selectors.EVENT_READ, self._ended)

    def leave(self, pid: int) -> None:
        """Work for this master no more."""
        for fd, known in list(self._by_fd.items()):
            if known == pid:
                self._ended(fd, 0)

    def _ended(self, fd: Any, _: int) -> None:
        # The master may have left in the same batch of events in which it ended.
        if fd not in self._by_fd:
            return
        self._selector.unregister(fd)
        del self._by_fd[fd]
        os.close(fd)
        if not self._by_fd:
            self._all_gone()
