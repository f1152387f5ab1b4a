"""A production: a source on its way into a stream, in a task or thread of its own."""

from __future__ import annotations

import threading

from shmstream.internals import note_cause
from shmstream.logs.cause import Cause
from shmstream.producer import Producer
from shmstream.stream_end import SHUTTING_DOWN


class Production:
    """What a task and a thread have in common. All methods are thread-safe.

    Attributes:
        cancelled: set once the source has to stop.
        ended: set once the source is closed, and nothing of the production runs.
    """

    _producer: Producer | None = None

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.ended = threading.Event()

    def writes(self, producer: Producer) -> None:
        """Note the producer that is written with, and stop when its stream is stopped.

        Args:
            producer: the producer. Nobody else writes with it.
        """
        self._producer = producer
        producer.on_cancel(self.stop)

    def abort(self, why: str) -> None:
        """End the stream as aborted, and stop the source; for a process that leaves."""
        if self._producer is not None:
            note_cause(self._producer, Cause.LEAVING)
            self._producer.abort(why)
        self.stop()

    def stop(self) -> None:
        """Stop the source, whose stream has ended. Returns at once; idempotent."""
        self.cancelled.set()

    def _end(self) -> None:
        """Note that nothing of the production runs any more."""
        # Whatever has ended the production: no stream stays live without one.
        if self._producer is not None:
            self._producer.abort(SHUTTING_DOWN)
        self.ended.set()
