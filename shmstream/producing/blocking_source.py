"""The loop over an iterator, in a thread: it writes what the source yields."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from shmstream.producer import Producer
from shmstream.producing.failures import fail
from shmstream.producing.pace import Pace
from shmstream.producing.portions import Portions
from shmstream.producing.sources import close_blocking
from shmstream.producing.writing import Writing
from shmstream.stream_end import SHUTTING_DOWN


class BlockingSource:
    """Iterates over one source.

    Args:
        producer: the producer of the stream.
        source: the source.
        writing: encodes the items.
        pace: waits for the reader of the response.
        cancelled: is set once the source has to stop. A step of the source cannot be
            interrupted: the source is closed after the step that it is in.
    """

    def __init__(
        self,
        producer: Producer,
        source: Iterable[Any],
        writing: Writing,
        pace: Pace,
        cancelled: threading.Event,
    ) -> None:
        self._producer = producer
        self._source = source
        self._iterator: object = source
        self._writing = writing
        self._pace = pace
        self._cancelled = cancelled
        self._portions = Portions(producer.capacity)
        self._unread = 0

    def run(self) -> None:
        """Write the source to its end, and close it.

        Raises:
            Whatever is no ``Exception`` and the source raises.
        """
        try:
            if not self._cancelled.is_set():
                self._iterate()
        except Exception as ex:
            fail(self._producer, ex)
        finally:
            try:
                close_blocking(self._iterator, self._source)
            finally:
                # Whatever has ended the source: no stream stays live without one.
                self._producer.abort(SHUTTING_DOWN)

    def _iterate(self) -> None:
        iterator = iter(self._source)
        self._iterator = iterator
        for item in iterator:
            if self._cancelled.is_set():
                return
            if self._writing.over:
                # Its readers have had their end. What the source has to do after its
                # last event (to store the answer) is not cut off.
                continue
            if not self._write(self._writing.take(item)):
                return
            if self._writing.over:
                self._producer.finish()
        if not self._producer.state.final and self._write(self._writing.rest()):
            self._producer.finish()

    def _write(self, events: bytes) -> bool:
        portions = self._portions
        for portion in portions.of(events, self._writing.incoming.framing):
            if self._unread + len(portion) > portions.most:
                self._unread = 0
                size = max(len(portion), portions.most) + portions.last_event
                self._pace.wait_for_room(self._producer, size)
            if not self._producer.write(portion):
                return False
            self._unread += len(portion)
        return True
