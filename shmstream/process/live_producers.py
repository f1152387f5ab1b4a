"""The live producers of a process: told of cancels, aborted when the process leaves."""

from __future__ import annotations

import functools
import threading
import weakref
from typing import Protocol

from shmstream.errors import SupervisorUnavailable
from shmstream.guarded_chores import GuardedChores
from shmstream.stream_end import SHUTTING_DOWN

CLOSED = 'the stream could not be made: its Streams has been closed'


class Attached(Protocol):
    """What ``LiveProducers`` needs of an attachment."""

    @property
    def closed(self) -> bool:
        """Whether the attachment is closed: then it must have no streams any more."""


class Producing(Protocol):
    """What ``LiveProducers`` needs of a producer.

    The names begin with ``_``, because an application has the producers, too.
    """

    @property
    def _attachment(self) -> Attached:
        """The attachment that its stream belongs to."""

    def _look_for_cancel(self) -> None:
        """Call the stop hooks if the stream has been cancelled."""

    def abort(self, error: str) -> None:
        """End the stream as aborted."""

    def _abandon(self) -> None:
        """Forget the stream after a fork."""

    def _tell(self) -> None:
        """Count what has been written since the last call."""


class LiveProducers:
    """The producers of a process that have not ended, held weakly. Thread-safe."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Producing] = weakref.WeakSet()
        self._chores = GuardedChores('leaving')
        self._lock = threading.RLock()

    def add(self, producer: Producing) -> None:
        """Add a producer, before its first write.

        ``Attachment.close`` first marks the attachment as closed, and then calls
        ``abort``. So a producer is either added in time, and ``abort`` finds it, or it
        is refused here.

        Raises:
            SupervisorUnavailable: the producer's attachment has been closed.
        """
        with self._lock:
            if producer._attachment.closed:
                raise SupervisorUnavailable(CLOSED)
            self._all.add(producer)

    def remove(self, producer: Producing) -> None:
        """Remove a producer that has ended."""
        with self._lock:
            self._all.discard(producer)

    def all(self) -> list[Producing]:
        """The producers that have not ended."""
        with self._lock:
            return list(self._all)

    def abort(self, attachment: object = None) -> None:
        """Abort the producers of an attachment that has been closed; None: of all."""
        for producer in self.all():
            if attachment in (None, producer._attachment):
                self._chores.do(
                    'aborting a stream',
                    functools.partial(producer.abort, SHUTTING_DOWN),
                    None,
                )

    def abandon(self) -> None:
        """Forget the producers after a fork: they are the parent's."""
        # Another thread of the parent may have held the lock.
        self._lock = threading.RLock()
        for producer in list(self._all):
            producer._abandon()
