"""Having the supervisor asked for room, aside: nobody here waits for its answer."""

from __future__ import annotations

import logging
import threading
import time

from shmstream.control.request import ask
from shmstream.errors import ShmstreamError
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.room_share import RoomShare

_RETRY_S = 2.0
"""As long as nobody is asked again after nobody has answered."""

log = logging.getLogger('shmstream')


class RoomRequests:
    """Asks the supervisor for room, in a thread of its own for each question.

    Args:
        directory: where the supervisor is.

    Attributes:
        wanted: whether there is something to ask. Whoever writes says so and rings the
            doorbell: it must not wait, not even for a thread to start.
    """

    def __init__(self, directory: RuntimeDirectory) -> None:
        self._directory = directory
        self.wanted = False
        self._ask_at = 0.0
        self._thread: threading.Thread | None = None

    def ask_aside(self, now: float, room: RoomShare) -> None:
        """Start asking, unless that is under way or was in vain just now.

        For the doorbell's thread, which must not wait either: followers depend on it.

        Args:
            now: seconds on a clock that never goes back.
            room: what waits for the answer.
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
            log.warning('no word about room: %s', ex)
        finally:
            # Whatever has been raised: somebody waits for an end.
            if not answered:
                self._ask_at = time.monotonic() + _RETRY_S
            room.answered(answered)

    def join(self) -> None:
        """Wait for what is under way."""
        if self._thread is not None:
            self._thread.join()
