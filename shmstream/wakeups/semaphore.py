"""The POSIX semaphore of a process: its name, posting it, and waiting for a post.

Its name is ``/shmstream-<token>-<epoch>``: unguessable, and derived from what the
worker table holds, so that whoever cleans up after a crash finds every semaphore that
can exist.

``posix_ipc`` waits by ``sem_timedwait``, whose deadline is one of the wall clock: set
that back by an hour, and the wait that had 200 ms to go has an hour and 200 ms. glibc
has ``sem_clockwait`` since 2.30. Where there is none (musl), the wall clock it is; who
sets that back there keeps those asleep for as long that nobody rings for.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from typing import Any

import posix_ipc


def semaphore_prefix(token: int) -> str:
    """Return what the names of a table's semaphores begin with, after the slash."""
    return f'shmstream-{token:016x}-'


def semaphore_name(token: int, epoch: int) -> str:
    """Return the name of the semaphore of a worker, by its table and its epoch."""
    return f'/{semaphore_prefix(token)}{epoch:016x}'


def post(semaphore: posix_ipc.Semaphore) -> None:
    """Post it; one that cannot count any further is loud enough."""
    try:
        semaphore.release()
    except OSError as ex:
        # At SEM_VALUE_MAX it has been ringing for a while.
        if ex.errno != errno.EOVERFLOW:
            raise


class _Timespec(ctypes.Structure):
    _fields_ = (('tv_sec', ctypes.c_long), ('tv_nsec', ctypes.c_long))


def _functions() -> tuple[Any, Any, Any] | None:
    # Calls by a CDLL let other threads run meanwhile.
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        opens, waits, closes = libc.sem_open, libc.sem_clockwait, libc.sem_close
    except AttributeError:
        return None
    opens.argtypes, opens.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    waits.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Timespec))
    closes.argtypes = (ctypes.c_void_p,)
    return opens, waits, closes


_FUNCTIONS = _functions()

STEADY = _FUNCTIONS is not None
"""Whether this libc can."""


class SteadyWait:
    """Waits on a named semaphore; one thread at a time. Made by ``of``.

    Args:
        at: the semaphore's address, of a ``sem_open`` of its own.
    """

    def __init__(self, at: int, waits: Any, closes: Any) -> None:
        self._at: int | None = at
        self._waits = waits
        self._closes = closes
        self._until = _Timespec()
        self._until_at = ctypes.byref(self._until)

    @classmethod
    def of(cls, name: str) -> SteadyWait | None:
        """Return what waits on this semaphore; None where nothing can.

        Raises:
            OSError: there is no such semaphore, or no memory for it.
        """
        if _FUNCTIONS is None:
            return None
        opens, waits, closes = _FUNCTIONS
        at = opens(os.fsencode(name), 0)
        if at is None:
            raise _error(f'sem_open of {name}')
        return cls(at, waits, closes)

    def acquire(self, wait_s: float) -> bool:
        """Take one post; False if there was none in time, or a signal came.

        Raises:
            OSError: it cannot be waited on.
        """
        if self._at is None:
            raise OSError(errno.EINVAL, 'the semaphore has been closed')
        until_ns = time.monotonic_ns() + int(wait_s * 1e9)
        self._until.tv_sec, self._until.tv_nsec = divmod(until_ns, 10**9)
        if self._waits(self._at, time.CLOCK_MONOTONIC, self._until_at) == 0:
            return True
        if ctypes.get_errno() in (errno.ETIMEDOUT, errno.EINTR):
            return False
        raise _error('sem_clockwait')

    def close(self) -> None:
        """Close it; nobody waits on it any more. Idempotent."""
        at, self._at = self._at, None
        if at is not None:
            self._closes(at)


def _error(of: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f'{of}: {os.strerror(number)}')
