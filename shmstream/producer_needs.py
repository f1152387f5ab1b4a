"""What a producer needs of the process that it runs in, and of its attachment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shmstream.memory.room_share import RoomShare
from shmstream.memory.segment import Segment
from shmstream.metrics.counts import Counts
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
        """Whether the caller still runs in that process, and not in a fork of it."""

    @property
    def bells(self) -> Bells:
        """The bells with which the producer rings other processes."""

    @property
    def room(self) -> RoomShare:
        """The process's share of the memory."""

    @property
    def producers(self) -> LiveProducers:
        """The process's producers: told of cancels, aborted when the process leaves."""

    @property
    def counts(self) -> Counts:
        """What the process counts in."""

    @property
    def followers(self) -> Followers:
        """Counts followers."""

    def later(self, action: Callable[[], object]) -> None:
        """Make a thread of the process run ``action``; a ``__del__`` may call this."""


class Attached(Protocol):
    """What a producer needs of the attachment to the deployment that made it."""

    @property
    def closed(self) -> bool:
        """Whether the attachment is closed: then it must have no streams any more."""

    @property
    def process(self) -> Process:
        """The process that the producer writes in."""
