"""A production: a source on its way into a stream, in a task or thread of its own."""

from __future__ import annotations

import threading

from shmstream.producer import Producer


class Production:
    """What a task and a thread have in common. All methods are thread-safe.

    Args:
        producer: the producer of the stream.

    Attributes:
        producer: the producer; only the production writes.
        cancelled: set once the source has to stop.
        ended: set once the source is closed, and nothing of the production runs.
    """

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.cancelled = threading.Event()
        self.ended = threading.Event()

    def abort(self, why: str) -> None:
        """End the stream as aborted, and stop the source; for a process that leaves."""
        self.producer.abort(why)
        self.stop()

    def stop(self) -> None:
        """Stop the source, whose stream has ended. Returns at once; idempotent."""
        self.cancelled.set()
