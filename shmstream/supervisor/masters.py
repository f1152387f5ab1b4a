"""The processes that a supervisor works for: gunicorn masters, or a script.

They are watched through pidfds, so that a process that dies is noticed at once, however
it dies, and a pid that is used again is never mistaken for it.
"""

from __future__ import annotations

import os


class Masters:
    """The set of masters. A pidfd becomes readable when its process ends."""

    def __init__(self) -> None:
        self._by_fd: dict[int, int] = {}

    @property
    def pids(self) -> list[int]:
        """Who is there."""
        return sorted(self._by_fd.values())

    def add(self, pid: int) -> int | None:
        """Watch one more; returns its pidfd, None if it is known or gone already."""
        if pid in self._by_fd.values():
            return None
        try:
            fd = os.pidfd_open(pid)
        except (ProcessLookupError, OverflowError):
            return None
        self._by_fd[fd] = pid
        return fd

    def __contains__(self, fd: int) -> bool:
        return fd in self._by_fd

    def find(self, pid: int) -> int | None:
        """Return the pidfd of this master."""
        return next((fd for fd, p in self._by_fd.items() if p == pid), None)

    def remove(self, fd: int) -> int:
        """Stop watching; returns the pid."""
        os.close(fd)
        return self._by_fd.pop(fd)
