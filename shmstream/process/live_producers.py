"""What is being produced in a process: who may be cancelled, and whom to end."""

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
    """Whoever has streams of its own here."""

    @property
    def closed(self) -> bool:
        """Whether it is to have none any more."""


class Producing(Protocol):
    """A producer, as those see it who keep an eye on it."""

    @property
    def attachment(self) -> Attached:
        """Whose stream it is."""

    def look_for_cancel(self) -> None:
        """Look whether the stream has been cancelled."""

    def abort(self, error: str) -> None:
        """End the stream as failed."""

    def abandon(self) -> None:
        """Forget the stream after a fork."""


class LiveProducers:
    """Those of a process that have not ended; they are not kept alive. Thread-safe."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Producing] = weakref.WeakSet()
        self._chores = GuardedChores('leaving')
        self._lock = threading.RLock()

    def add(self, producer: Producing) -> None:
        """Have it look for cancels.

        Raises:
            SupervisorUnavailable: its attachment has been closed. Whom ``abort``
                finds has been added before, and who comes after it finds that.
        """
        with self._lock:
            if producer.attachment.closed:
                raise SupervisorUnavailable(CLOSED)
            self._all.add(producer)

    def remove(self, producer: Producing) -> None:
        """It has ended."""
        with self._lock:
            self._all.discard(producer)

    def all(self) -> list[Producing]:
        """Those that have not ended."""
        with self._lock:
            return list(self._all)

    def abort(self, attachment: object = None) -> None:
        """Abort what this attachment, closed by now, has produced; or everything."""
        for producer in self.all():
            if attachment in (None, producer.attachment):
                self._chores.do(
                    'aborting a stream',
                    functools.partial(producer.abort, SHUTTING_DOWN),
                    None,
                )

    def abandon(self) -> None:
        """Forget them after a fork: they are the parent's."""
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        for producer in list(self._all):
            producer.abandon()
