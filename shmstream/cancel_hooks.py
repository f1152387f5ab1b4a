"""The stop hooks of a producer: what is called when its stream is cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable

from shmstream.memory.segment import Segment

log = logging.getLogger('shmstream')


class CancelHooks:
    """Calls each hook once, when the stream has been cancelled. Thread-safe.

    Args:
        segment: the segment of the stream.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._hooks: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._hooks)

    def add(self, hook: Callable[[], None]) -> None:
        """Add a hook; if the stream has been cancelled already, it is called now."""
        self._hooks.append(hook)
        self.look()

    def clear(self) -> None:
        """Call no hook from now on."""
        self._hooks.clear()

    def look(self) -> None:
        """Call the hooks if the stream has been cancelled."""
        while self._hooks and self._segment.cancelled:
            try:
                hook = self._hooks.pop()
            except IndexError:  # another thread has taken the last hook meanwhile
                return
            try:
                hook()
            except Exception:
                log.exception('stream %s: stop hook failed', self._segment.generation)
