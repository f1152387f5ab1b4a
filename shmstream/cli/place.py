"""Where a command looks: a runtime directory, or a service behind a URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from shmstream.inspection.reading import Lost
from shmstream.memory.session_facts import SessionFacts
from shmstream.metrics.reading import Reading
from shmstream.ring.state import State

Count = Callable[[int], None]
"""Is told how many sessions have been read."""


@dataclass(frozen=True)
class End:
    """How a stream that was followed has ended.

    Attributes:
        state: its state.
        gone: whether it was removed or replaced before its end.
        orphaned: whether nobody writes it any more, and nobody is there to end it.
        reason: why it has failed, if its bytes do not tell it.
    """

    state: State
    gone: bool = False
    orphaned: bool = False
    reason: str = ''


class Following(Protocol):
    """A stream that is being followed."""

    @property
    def content_type(self) -> str:
        """The media type of the bytes; empty while it is not known."""

    def follow(self, offset: int) -> Iterator[bytes | Lost]:
        """Yield the bytes from an offset on, to the end."""

    def end(self) -> End:
        """How it has ended; after ``follow``."""


class Place(Protocol):
    """What the commands ask. Each call blocks, for some seconds at the most.

    Attributes:
        name: the place, for people.
        has_owners: whether the streams of several owners are seen.
    """

    name: str
    has_owners: bool

    def sessions(self, count: Count) -> list[SessionFacts]:
        """Return all sessions."""

    def named(self, conv_id: str) -> list[SessionFacts]:
        """Return the sessions with this id: one of each owner that has one."""

    def more(self, session: SessionFacts) -> dict[str, Any]:
        """Return what only ``show`` says of a session."""

    def stop(self, session: SessionFacts, evict: bool) -> str:
        """Stop a stream; return what happened: ``stopped``, ``evicted``, ``gone``."""

    def tail(self, session: SessionFacts) -> Following:
        """Open a stream."""

    def reading(self) -> Reading:
        """Return the numbers of the whole deployment."""

    def warnings(self) -> list[str]:
        """Return what the operator should know of the deployment, a line for each."""
