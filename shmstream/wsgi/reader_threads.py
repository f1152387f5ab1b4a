"""Bounds how many threads of a WSGI worker may be readers.

Under WSGI a reader takes a thread from the head of its response until its stream has
ended or its client has left. If all threads of a worker were readers, the worker could
answer nothing else: no question, no stop, no health check. So only a share of the
threads may be readers, and a reader more gets 503 with ``Retry-After``::

    server                  threads           readers, at most
    ----------------------  ----------------  ---------------------------------------
    gunicorn -k gthread     ``--threads``     ``$SHMSTREAM_READER_SHARE`` of them (three
                                              quarters by default), and at least one
    gunicorn -k sync        1                 1
    gunicorn -k gevent,     greenlets, or     no bound, unless the application gives a
    other servers           not known         number

The threads are known through shmstream's hooks for gunicorn. A number that the
application gives takes the place of the share under every server.

A reader is a request that is sent a stream, or waits for one to begin, or has begun one
and is sent it (a POST). The rest of an ended stream counts if it has more than 64 KiB,
because its client may read slowly. All applications of a process have the same threads,
so their readers count together.
"""

from __future__ import annotations

import itertools
import os
import threading

from shmstream.deploy.gunicorn_workers import threads_of
from shmstream.deploy.worker_life import WorkerLife, current
from shmstream.errors import LocalError
from shmstream.serving.problems import RETRY_S, Problem
from shmstream.settings import reader_share

_numbers = itertools.count()
_taken: dict[int, None] = {}
"""The numbers of the places that readers of this process have. A dict, because to
remove a number is one step, and needs no lock: the garbage collector may do it at any
moment, in any thread."""

_lock = threading.Lock()
"""Held for a moment by readers that come, so that two of them do not take one place."""


def _forget() -> None:
    """Begin anew, in a process that was forked."""
    global _lock
    _lock = threading.Lock()
    _taken.clear()


os.register_at_fork(after_in_child=_forget)


class Place:
    """The place of one reader. It is given back with its last reference, at the latest.

    So a reply that is never sent (a later hook of the framework has put another one in
    its place, or has raised) holds no place.
    """

    __slots__ = ('_number',)

    def __init__(self) -> None:
        self._number = next(_numbers)
        _taken[self._number] = None

    def give_back(self) -> None:
        """Let another reader have the place. Idempotent."""
        _taken.pop(self._number, None)

    def __del__(self) -> None:
        self.give_back()


class ReaderThreads:
    """Gives places to the readers of an application.

    Args:
        most: readers of this process, at most; None: a share of its threads.
        life: knows gunicorn's worker.

    Raises:
        LocalError: ``most`` is below 1.
        SettingsError: ``$SHMSTREAM_READER_SHARE`` has a value that cannot be used.
    """

    def __init__(self, most: int | None = None, life: WorkerLife = current) -> None:
        if most is not None and most < 1:
            raise LocalError(f'readers must be at least 1, not {most}')
        self._most = most
        self._share = reader_share()
        self._life = life

    def most(self) -> int | None:
        """Return how many readers this process may have; None: as many as come."""
        if self._most is not None:
            return self._most
        # Asked for each reader: an application may be made before its worker is forked.
        threads = threads_of(self._life.worker)
        return None if threads is None else max(1, int(threads * self._share))

    def take(self) -> Place:
        """Return a place.

        Raises:
            Problem: 503, this process has as many readers as it may have.
        """
        most = self.most()
        with _lock:
            if most is None or len(_taken) < most:
                return Place()
        raise Problem(
            503,
            f'This worker has as many readers as it may have ({most}), retry later',
            RETRY_S,
        )
