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

_runtimes: dict[str, Runtime] = {}
_lock = threading.Lock()


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
        if _withdrawn(self.runtime, {self._token}):
            self.runtime.close()
            # After that: the doorbell thread would do it as well.
            self._give_back()
        else:
            self._give_back()
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
        runtime = _runtimes.get(where)
        if runtime is None or runtime.closed or not (runtime.members or runtime.there):
            runtime = Runtime(directory, config, masters, leaving, _leave)
            _runtimes[where] = runtime
        member = Membership(runtime)
    if config is not None:
        runtime.supervise(config, masters)
    return member


def _leave(runtime: Runtime) -> None:
    """Close the runtime unless it has members."""
    if _withdrawn(runtime, set()):
        runtime.close()


def _withdrawn(runtime: Runtime, but: set[object]) -> bool:
    """Have whoever joins from now on make another, if it has no members but these."""
    with _lock:
        if not runtime.members <= but:
            return False
        for where, known in list(_runtimes.items()):
            if known is runtime:
                del _runtimes[where]
    return True


def _forget_parents() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.Lock()
    _runtimes.clear()


os.register_at_fork(after_in_child=_forget_parents)
