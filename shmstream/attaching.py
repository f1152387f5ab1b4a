"""Joins a deployment, and leaves it: what all that ``Streams`` does is built on."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from shmstream.memory.directory import RuntimeDirectory, directory_from_environment
from shmstream.process.attachment import Attachment, attach
from shmstream.process.host import Host, Named
from shmstream.process.this_process import ThisProcess
from shmstream.supervisor.config import SupervisorConfig

_attached: weakref.WeakSet[Attaching] = weakref.WeakSet()


class Attaching:
    """The part of ``Streams`` that joins a deployment, and leaves it."""

    def __init__(self, attach: Callable[[], Attachment]) -> None:
        self._attach = attach
        self._attached_now: Attachment | None = None
        # Reentrant, because a signal handler may use the streams while the code that it
        # interrupts uses them for the first time.
        self._lock = threading.RLock()
        _attached.add(self)

    @classmethod
    def attach(
        cls,
        directory: Path | str | None = None,
        *,
        supervise: SupervisorConfig | bool = False,
        host: Host | None = None,
    ) -> Self:
        """Join the deployment of a runtime directory. Starts and opens nothing yet.

        However often a process attaches to a directory, it takes one slot, one thread
        and one connection. It keeps them while any ``Streams`` of that directory is in
        use, or any producer, consumer or follower that such a ``Streams`` has made.

        Args:
            directory: the runtime directory, default ``$SHMSTREAM_DIR``, or else
                ``/dev/shm/shmstream-<uid>``.
            supervise: start a supervisor with these settings if there is none; the
                supervisor stops when this process ends. If a process attaches several
                times, the first settings count. Under gunicorn the hooks have started a
                supervisor, which stops with the master.
            host: the server that runs this process; by default the one that
                ``process.host.run_by`` has named. gunicorn's hooks name gunicorn. If a
                process attaches several times, the first host counts.

        Raises:
            SettingsError: ``$SHMSTREAM_DIR`` is used and is not an absolute path.

        Example::

            streams = shmstream.Streams.attach()
        """
        path = directory_from_environment() if directory is None else Path(directory)
        where = RuntimeDirectory(path.absolute())
        config = SupervisorConfig() if supervise is True else supervise or None
        run_by = Named() if host is None else host

        def masters() -> list[int]:
            found = run_by.masters()
            if found is not None:
                return found
            return [os.getpid()] if supervise else []

        return cls(lambda: attach(where, config, masters, run_by))

    @property
    def _attachment(self) -> Attachment:
        """The attachment to this process's part; a fork makes its own at first use."""
        now = self._attached_now
        if now is not None:
            # This is nearly always so, and needs no lock.
            return now
        with self._lock:
            if self._attached_now is None:
                attachment = self._attach()
                # A signal handler may have attached meanwhile; its attachment stays.
                if self._attached_now is None:
                    self._attached_now = attachment
            return self._attached_now

    @property
    def _process(self) -> ThisProcess:
        """This process's part in the deployment."""
        return self._attachment.process

    @property
    def followers(self) -> int:
        """The number of followers in this process, of all streams."""
        return self._process.followers.number

    def leaving(self) -> bool:
        """Whether this process has been told to stop; for ``follow(leave=...)``.

        Blocks nothing.

        Example::

            follower = consumer.follow(leave=streams.leaving)
        """
        return self._process.host.leaving()

    def connect(self) -> None:
        """Connect to the supervisor now rather than at the first request.

        Blocks, some seconds at the most; a process that supervises waits for up to 20
        seconds for the supervisor that it starts.

        Raises:
            SupervisorUnavailable: there is no supervisor.

        Example::

            try:
                streams.connect()
            except shmstream.SupervisorUnavailable as ex:
                print(ex)
        """
        self._process.connect()

    def close(self) -> None:
        """Abort the producers that this ``Streams`` has made, and let its followers go.

        Blocks for a moment. The process also ends its threads, and leaves the
        deployment, unless another ``Streams`` in it is attached to the same directory.

        Example::

            streams = shmstream.Streams.attach()
            streams.close()
        """
        with self._lock:
            attachment, self._attached_now = self._attached_now, None
        if attachment is not None:
            attachment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        # Another thread of the parent may have held the lock during the fork.
        self._lock = threading.RLock()
        self._attached_now = None


def _forget_parents() -> None:
    for streams in list(_attached):
        streams._after_fork()


os.register_at_fork(after_in_child=_forget_parents)
