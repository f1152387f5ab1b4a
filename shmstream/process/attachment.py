"""Attachments: what a ``Streams`` and all that it makes hold of this process's part.

There is one ``ThisProcess`` per process and directory, whoever attaches how often: it
costs a slot, of which the whole deployment has 64, a thread and descriptors. It is
there as long as anybody holds an attachment to it::

    Streams ------.
    Producer ------+--> Attachment --> ThisProcess <-- doorbell thread
    Consumer -----'         |               ^
    Follower                '-- token --> attachments

An attachment that is closed or dropped takes its token back, and no more: the garbage
collector may find it in any thread, under any lock. The doorbell thread sees then that
there are no attachments, and has the process leave.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from shmstream.memory.directory import RuntimeDirectory
from shmstream.process.this_process import ThisProcess
from shmstream.supervisor.config import SupervisorConfig

# Whoever has a slot is kept by itself, until it has left; others by attachments.
_processes: dict[str, weakref.ref[ThisProcess]] = {}
_made = 0
# Reentrant: a signal handler may join in the middle of another's joining.
_lock = threading.RLock()


class Attachment:
    """One holder's claim to this process's part. Made by ``attach``.

    Attributes:
        process: the process's part in the deployment, shared with others.
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
        """Whether it has been closed: what it has made is to be let go."""
        return self._closed or self.process.closed

    def close(self) -> None:
        """Abort what is produced under it, and let its followers go. Idempotent.

        The last one has the process leave, and returns when that is done.
        """
        self._closed = True
        self.process.producers.abort(self)
        with _lock:
            # At once: of two that close, one finds that it is the last.
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
    leaving: Callable[[], bool],
) -> Attachment:
    """Return an attachment to this process's part in the deployment of a directory.

    The first that has a ``config`` decides how a supervisor is started, and for whom.
    Arguments as for ``ThisProcess``.
    """
    where = os.path.realpath(directory.path)
    with _lock:
        attachment = Attachment(_process_of(where, directory, config, masters, leaving))
    if config is not None:
        attachment.process.supervise(config, masters)
    return attachment


def _process_of(
    where: str,
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: Callable[[], list[int]],
    leaving: Callable[[], bool],
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
        process = ThisProcess(directory, config, masters, leaving, _leave)
        entry = weakref.ref(process)
        # Unless a signal handler has made one meanwhile: none comes in between these,
        # as nothing is called.
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
    """Close the process unless it has members."""
    if _withdrawn(process):
        process.close()


def _withdrawn(process: ThisProcess) -> bool:
    """Have whoever joins from now on make another, if it has no members."""
    with _lock:
        if process.attachments:
            return False
        for where, entry in list(_processes.items()):
            if entry() is process:
                _processes.pop(where, None)
    return True


def _forget_parents() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.RLock()
    _processes.clear()


os.register_at_fork(after_in_child=_forget_parents)
