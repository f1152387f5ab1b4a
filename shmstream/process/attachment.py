"""Attachments to ``ThisProcess``: a ``Streams`` and each object that it makes have one.

There is one ``ThisProcess`` per process and directory, however often the process
attaches, because each ``ThisProcess`` costs a thread, descriptors and one of the 64
slots of the deployment. It stays as long as any object holds an attachment to it::

    Streams ------.
    Producer ------+--> Attachment --> ThisProcess <-- doorbell thread
    Consumer -----'         |               ^
    Follower                '-- token --> attachments

An attachment that is dropped only takes its token back, because the garbage collector
may drop it in any thread, under any lock. When no token is left, the doorbell's thread
sees that, and makes the process leave.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from shmstream.memory.directory import RuntimeDirectory
from shmstream.process.host import Host
from shmstream.process.this_process import ThisProcess
from shmstream.supervisor.config import SupervisorConfig

# Weak: a ``ThisProcess`` with a slot keeps itself alive until it has left, and one
# without a slot is kept by its attachments.
_processes: dict[str, weakref.ref[ThisProcess]] = {}
_made = 0
# Reentrant: a signal handler may attach while it interrupts an ``attach``.
_lock = threading.RLock()


class Attachment:
    """Keeps this process in the deployment. Made by ``attach``.

    Attributes:
        process: this process's part in the deployment, shared by all attachments.
    """

    def __init__(self, process: ThisProcess) -> None:
        self.process = process
        self._closed = False
        self._token = object()
        process.attachments.add(self._token)
        self._give_back = weakref.finalize(
            self, process.attachments.discard, self._token
        )
        self._give_back.atexit = False

    @property
    def closed(self) -> bool:
        """Whether the attachment is closed: its producers and followers have to end."""
        return self._closed or self.process.closed

    def close(self) -> None:
        """Abort the attachment's producers, and let its followers go. Idempotent.

        If this is the last attachment, the process leaves, and ``close`` returns when
        the process has left.
        """
        self._closed = True
        self.process.producers.abort(self)
        with _lock:
            # Both steps are under one lock: if two attachments close at the same time,
            # one of them finds that it is the last.
            self._give_back()
            last = _withdrawn(self.process)
        if last:
            self.process.close()
        else:
            self.process.followers.wake_everybody()


def attach(
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: Callable[[], list[int]],
    host: Host,
) -> Attachment:
    """Return an attachment to this process's part in the deployment of a directory.

    The first call with a ``config`` decides how supervisors are started, and for which
    masters. Arguments as for ``ThisProcess``.
    """
    where = os.path.realpath(directory.path)
    with _lock:
        attachment = Attachment(_process_of(where, directory, config, masters, host))
    if config is not None:
        attachment.process.supervise(config, masters)
    return attachment


def _process_of(
    where: str,
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: Callable[[], list[int]],
    host: Host,
) -> ThisProcess:
    global _made
    for known_as, entry in list(_processes.items()):
        if entry() is None:
            _processes.pop(known_as, None)
    while True:
        number = _made
        process = _known(where)
        if process is not None:
            return process
        process = ThisProcess(directory, config, masters, host, _leave)
        entry = weakref.ref(process)
        # If ``_made`` has changed, a signal handler has made a ``ThisProcess``
        # meanwhile. No handler can run between the next three lines, because they call
        # nothing.
        if _made == number:
            _made += 1
            _processes[where] = entry
            return process


def _known(where: str) -> ThisProcess | None:
    entry = _processes.get(where)
    process = None if entry is None else entry()
    if (
        process is None
        or process.closed
        or not (process.attachments or process.holder.there)
    ):
        return None
    return process


def _leave(process: ThisProcess) -> None:
    """Make the process leave, unless it has attachments."""
    if _withdrawn(process):
        process.close()


def _withdrawn(process: ThisProcess) -> bool:
    """Forget a process without attachments: the next ``attach`` makes another.

    Returns:
        False if the process has attachments, and stays.
    """
    with _lock:
        if process.attachments:
            return False
        for where, entry in list(_processes.items()):
            if entry() is process:
                _processes.pop(where, None)
    return True


def _forget_parents() -> None:
    global _lock
    # Another thread of the parent may have held the lock.
    _lock = threading.RLock()
    _processes.clear()


os.register_at_fork(after_in_child=_forget_parents)
