"""Asking the supervisor for room in a thread of its own, so that no writer waits."""

from __future__ import annotations

import logging
import threading
import time

from shmstream.control.request import ask
from shmstream.errors import ShmstreamError
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.room_share import RoomShare

_RETRY_S = 2.0
"""Seconds until the next request after one that got no answer."""

log = logging.getLogger('shmstream')


class RoomRequests:
    """Asks the supervisor for room, each time in a thread of its own.

    Args:
        directory: the runtime directory of the supervisor.

    Attributes:
        wanted: whether to ask. A writer sets it and rings the doorbell, because it must
            not wait, not even for a thread to start.
    """

    def __init__(self, directory: RuntimeDirectory) -> None:
        self._directory = directory
        self.wanted = False
        self._ask_at = 0.0
        self._thread: threading.Thread | None = None

    def ask_aside(self, now: float, room: RoomShare) -> None:
        """Start a request, unless one is under way, or got no answer just now.

        The doorbell's thread calls this, and must not wait: followers depend on it.

        Args:
            now: seconds on the monotonic clock.
            room: told of the answer (``RoomShare.answered``).
        """
        if now < self._ask_at:
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self.wanted = False
        thread = threading.Thread(
            target=self._ask, args=(room,), name='shmstream-room', daemon=True
        )
        try:
            thread.start()
        except BaseException:
            room.answered(False)
            raise
        self._thread = thread

    def _ask(self, room: RoomShare) -> None:
        answered = False
        try:
            ask(self._directory, 'room', reply_s=room.ANSWER_S)
            answered = True
        except ShmstreamError as ex:
            log.warning('no answer about room: %s', ex)
        finally:
            # After any exception too: a writer may wait for this.
            if not answered:
                self._ask_at = time.monotonic() + _RETRY_S
            room.answered(answered)

    def join(self) -> None:
        """Wait for a request that is under way."""
        if self._thread is not None:
            self._thread.join()
