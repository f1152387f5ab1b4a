"""What a producer needs of the process that it runs in, and of its attachment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shmstream.memory.room_share import RoomShare
from shmstream.memory.segment import Segment
from shmstream.process.live_producers import LiveProducers
from shmstream.wakeups.ring_others import Bells


class Followers(Protocol):
    """Counts the followers of streams."""

    def everywhere(self, segment: Segment) -> int:
        """Return how many followers a segment has in all live workers."""


class Process(Protocol):
    """What a producer needs of the process that it writes in."""

    @property
    def here(self) -> bool:
        """Whether this is still that process, and not a fork of it."""

    @property
    def bells(self) -> Bells:
        """The bells with which the producer rings other processes."""

    @property
    def room(self) -> RoomShare:
        """The process's share of the memory."""

    @property
    def producers(self) -> LiveProducers:
        """The process's producers: told to look for cancels, aborted when it leaves."""

    @property
    def followers(self) -> Followers:
        """Counts followers."""

    def later(self, action: Callable[[], object]) -> None:
        """Have a thread of the process run ``action``; for a ``__del__``."""


class Attached(Protocol):
    """What a producer needs of the attachment to the deployment that made it."""

    @property
    def closed(self) -> bool:
        """Whether the attachment has been closed: it may have no streams any more."""

    @property
    def process(self) -> Process:
        """The process that the producer writes in."""
