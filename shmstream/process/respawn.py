"""Respawning: each worker that sees that the supervisor has gone starts another one."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable

from shmstream.errors import ShmstreamError, SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.spawn import REFUSED, spawn

_RESPAWN_S = 1.0
"""Seconds that a supervisor may take to come up before another one is started."""

_FAILED_S = 30.0
"""Seconds until the next start after a supervisor that could not begin."""

_RECONNECT_S = 2.0
"""Seconds between two tries to connect again."""

_AT_ONCE = 3
_RESTLESS_S = 10.0
"""Up to ``_AT_ONCE`` successors within this time are started without a pause. Further
ones are started ``_RESPAWN_S`` apart: supervisors that keep dying must not be started
all the time."""

log = logging.getLogger('shmstream')


class Respawner:
    """Starts supervisors and makes the process connect again, but neither too often.

    Args:
        directory: the runtime directory.
        config: the settings to start a supervisor with; None: its predecessor's.
        masters: returns the processes that keep the deployment alive; while there are
            none, no supervisor is started.

    Attributes:
        had_one: whether this process has ever been connected to a supervisor. Only then
            does the log say that the supervisor has gone.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig | None,
        masters: Callable[[], list[int]],
    ) -> None:
        self._directory = directory
        self._config = config
        self._masters = masters
        self._spawned: subprocess.Popen[bytes] | None = None
        self._spawned_at = -_RESPAWN_S
        self._spawns: deque[float] = deque(maxlen=_AT_ONCE)
        self._served = False
        self._thread: threading.Thread | None = None
        self._next_try = 0.0
        self._closed = False
        # Reentrant: a signal handler may call ``close`` while it interrupts ``close``.
        self._lock = threading.RLock()
        self.had_one = False

    def supervise(
        self, config: SupervisorConfig, masters: Callable[[], list[int]]
    ) -> None:
        """Start supervisors with this config, and for these masters, from now on."""
        self._config, self._masters = config, masters

    def connected(self) -> None:
        """Note that a supervisor serves: if it goes, the next is started at once."""
        self.had_one = self._served = True
        self._next_try = 0.0

    def respawn(self) -> None:
        """Start a supervisor, unless one was started just now and may still come up.

        Raises:
            SupervisorUnavailable: as ``spawn``; or the last one has just refused to
                start.
        """
        now = time.monotonic()
        if self._closed or (
            now - self._spawned_at < _RESPAWN_S and not self._lost(now)
        ):
            return
        if self._spawned is not None:
            ended = self._spawned.poll()
            if ended is None:
                return
            if ended == REFUSED and now - self._spawned_at < _FAILED_S:
                # The supervisor has logged why it cannot start, and that reason will
                # not go away within seconds.
                raise SupervisorUnavailable('the supervisor cannot start: see its log')
        masters = self._masters()
        if not masters:
            return
        self._spawned_at = now
        self._spawns.append(now)
        self._served = False
        if self.had_one:
            log.warning('the supervisor has gone: starting another')
        self._spawned = spawn(self._directory, self._config, masters)

    def _lost(self, now: float) -> bool:
        """Whether the supervisor that was started just now has served, or was killed.

        Then another one is started at once, unless too many were started within
        ``_RESTLESS_S``. Followers may wait for it: if a worker died together with the
        supervisor, the next supervisor ends the worker's streams.
        """
        killed = self._spawned is not None and (self._spawned.poll() or 0) < 0
        if not (self._served or killed):
            return False
        full = len(self._spawns) == _AT_ONCE
        return not full or now - self._spawns[0] >= _RESTLESS_S

    def reconnect(self, connect: Callable[[], None]) -> None:
        """Call ``connect`` in a thread of its own, unless that is under way.

        The doorbell's thread calls this, and must not wait: followers depend on it.
        """
        now = time.monotonic()
        if self._closed or now < self._next_try or not self._masters():
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._next_try = now + _RECONNECT_S
        thread = threading.Thread(
            target=self._connect,
            args=(connect,),
            name='shmstream-reconnect',
            daemon=True,
        )
        with self._lock:
            # ``close`` joins this thread, so it must have been started.
            if not self._closed:
                thread.start()
                self._thread = thread

    @staticmethod
    def _connect(connect: Callable[[], None]) -> None:
        try:
            connect()
        except ShmstreamError as ex:
            log.error('%s', ex)
        except Exception:
            # The doorbell's thread tries again.
            log.exception('connecting to the supervisor failed')

    def abandon(self) -> None:
        """Replace the lock after a fork: a thread of the parent may have held it."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """Start no supervisor any more, and wait for a reconnect that is under way."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.join()
