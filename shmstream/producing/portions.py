"""How much of a ring is written without giving the readers a turn.

A source that sends much at once could overtake the readers of its own process before
they have a turn. So whoever writes for a source writes in portions, and lets readers
read between them.
"""

from __future__ import annotations

from collections.abc import Iterator

from shmstream.dialects.framing import Framing
from shmstream.dialects.splitter import pieces

_MOST_AT_ONCE = 64 * 1024
"""Bytes of a portion, at most. A whole event may have more."""

_PART_OF_RING = 4
"""A portion has at most a quarter of the ring. An event that is longer than that is
written in several portions."""

_LAST_EVENT = 4096
"""Bytes of the ring, at most, that are kept free for the event that tells the end."""


class Portions:
    """Cuts blocks of whole events into portions for one ring.

    Args:
        capacity: the bytes that the ring holds.

    Attributes:
        most: bytes that are written without giving the readers a turn, at most.
        last_event: bytes of the ring that are kept free for the last event.
    """

    def __init__(self, capacity: int) -> None:
        self._most_of_event = capacity // _PART_OF_RING
        self.most = min(_MOST_AT_ONCE, self._most_of_event)
        self.last_event = min(_LAST_EVENT, capacity // 8)

    def of(self, events: bytes, framing: Framing) -> Iterator[bytes]:
        """Yield the portions of a block, which may be empty."""
        most = self.most
        if len(events) <= most:
            if events:
                yield events
            return
        for piece in pieces(events, most, framing):
            step = len(piece) if len(piece) <= self._most_of_event else most
            for at in range(0, len(piece), step):
                yield piece[at : at + step]
