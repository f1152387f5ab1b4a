"""Membership: what a ``Streams`` and all that it makes hold of the process's runtime.

There is one ``Runtime`` per process and directory, whoever attaches how often: it costs
a slot, of which the whole deployment has 64, a thread and descriptors. It is there as
long as anybody holds a membership of it::

    Streams ------.
    Producer ------+--> Membership --> Runtime <-- doorbell thread
    Consumer -----'         |             ^
    Follower                '-- token --> members

A membership that is closed or dropped takes its token back, and no more: the garbage
collector may find it in any thread, under any lock. The doorbell thread sees then that
there are no members, and has the runtime closed.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from shmstream.memory.directory import RuntimeDirectory
from shmstream.runtime import Runtime
from shmstream.supervisor.config import SupervisorConfig

# Whoever has a slot is kept by itself, until it has left; others by their members.
_runtimes: dict[str, weakref.ref[Runtime]] = {}
_made = 0
# Reentrant: a signal handler may join in the middle of another's joining.
_lock = threading.RLock()


class Membership:
    """One holder's share of the process's runtime. Made by ``join``.

    Attributes:
        runtime: the process's part in the deployment, shared with others.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._closed = False
        self._token = object()
        runtime.members.add(self._token)
        self._give_back = weakref.finalize(self, runtime.members.discard, self._token)
        self._give_back.atexit = False

    @property
    def closed(self) -> bool:
        """Whether it has been closed: what it has made is to be let go."""
        return self._closed or self.runtime.closed

    def close(self) -> None:
        """Abort what is produced under it, and let its followers go. Idempotent.

        The last one takes the runtime with it, and returns when that has left.
        """
        self._closed = True
        self.runtime.producers.abort(self)
        with _lock:
            # At once: of two that close, one finds that it is the last.
            self._give_back()
            last = _withdrawn(self.runtime)
        if last:
            self.runtime.close()
        else:
            self.runtime.wake_everybody()


def join(
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: Callable[[], list[int]],
    leaving: Callable[[], bool],
) -> Membership:
    """Return a membership of the runtime of this directory, made if there is none.

    The first that has a ``config`` decides how a supervisor is started, and for whom.
    Arguments as for ``Runtime``.
    """
    where = os.path.realpath(directory.path)
    with _lock:
        member = Membership(_runtime_of(where, directory, config, masters, leaving))
    if config is not None:
        member.runtime.supervise(config, masters)
    return member


def _runtime_of(
    where: str,
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: Callable[[], list[int]],
    leaving: Callable[[], bool],
) -> Runtime:
    global _made
    for known_as, entry in list(_runtimes.items()):
        if entry() is None:
            _runtimes.pop(known_as, None)
    while True:
        number = _made
        runtime = _known(where)
        if runtime is not None:
            return runtime
        runtime = Runtime(directory, config, masters, leaving, _leave)
        entry = weakref.ref(runtime)
        # Unless a signal handler has made one meanwhile: none comes in between these,
        # as nothing is called.
        if _made == number:
            _made += 1
            _runtimes[where] = entry
            return runtime


def _known(where: str) -> Runtime | None:
    entry = _runtimes.get(where)
    runtime = None if entry is None else entry()
    if runtime is None or runtime.closed or not (runtime.members or runtime.there):
        return None
    return runtime


def _leave(runtime: Runtime) -> None:
    """Close the runtime unless it has members."""
    if _withdrawn(runtime):
        runtime.close()


def _withdrawn(runtime: Runtime) -> bool:
    """Have whoever joins from now on make another, if it has no members."""
    with _lock:
        if runtime.members:
            return False
        for where, entry in list(_runtimes.items()):
            if entry() is runtime:
                _runtimes.pop(where, None)
    return True


def _forget_parents() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.RLock()
    _runtimes.clear()


os.register_at_fork(after_in_child=_forget_parents)
