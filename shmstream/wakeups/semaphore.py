"""The POSIX semaphore of a process: its name, posting it, and waiting for a post.

Its name is ``/shmstream-<token>-<epoch>``: unguessable, and made of words in the worker
table, so that a clean-up after a crash finds every semaphore that can exist.

``posix_ipc`` waits by ``sem_timedwait``, whose deadline is a time of the wall clock. If
somebody sets that clock back by an hour, a wait of 200 ms lasts an hour longer. So this
module waits by ``sem_clockwait``, which glibc has since 2.30. A libc without it (musl)
waits by the wall clock: there, setting the clock back by an hour makes the safety net
an hour late, but not the rings.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from typing import Any

import posix_ipc


def semaphore_prefix(token: int) -> str:
    """Return the prefix of the names of a table's semaphores, without the slash."""
    return f'shmstream-{token:016x}-'


def semaphore_name(token: int, epoch: int) -> str:
    """Return a worker's semaphore name, from the table's token and its epoch."""
    return f'/{semaphore_prefix(token)}{epoch:016x}'


def post(semaphore: posix_ipc.Semaphore) -> None:
    """Post the semaphore; does nothing if its value is at the maximum already."""
    try:
        semaphore.release()
    except OSError as ex:
        # At SEM_VALUE_MAX one ring more makes no difference.
        if ex.errno != errno.EOVERFLOW:
            raise


class _Timespec(ctypes.Structure):
    _fields_ = (('tv_sec', ctypes.c_long), ('tv_nsec', ctypes.c_long))


def _functions() -> tuple[Any, Any, Any] | None:
    # A CDLL releases the GIL during its calls, so that other threads run meanwhile.
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
"""Whether this libc can wait by the monotonic clock (``sem_clockwait``)."""


class SteadyWait:
    """Waits on a named semaphore by the monotonic clock. Made by ``of``.

    One thread at a time may wait.

    Args:
        at: the address that ``sem_open`` returned; ``close`` closes it.
        waits: ``sem_clockwait``.
        closes: ``sem_close``.
    """

    def __init__(self, at: int, waits: Any, closes: Any) -> None:
        self._at: int | None = at
        self._waits = waits
        self._closes = closes
        self._until = _Timespec()
        self._until_at = ctypes.byref(self._until)

    @classmethod
    def of(cls, name: str) -> SteadyWait | None:
        """Open the semaphore of this name; None if this libc has no ``sem_clockwait``.

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
        """Wait for a post and take it; False if none came in time, or a signal came.

        Raises:
            OSError: the semaphore has been closed, or cannot be waited on.
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
        """Close the semaphore; no thread may wait on it any more. Idempotent."""
        at, self._at = self._at, None
        if at is not None:
            self._closes(at)


def _error(of: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f'{of}: {os.strerror(number)}')
