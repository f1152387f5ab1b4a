"""How far a reader has come; the same in a thread and on an event loop."""

from __future__ import annotations

from shmstream.client.resumption import Resumption
from shmstream.ring.state import State


class Progress:
    """What ``Following`` and ``AsyncFollowing`` tell of their stream.

    Args:
        resumption: the stream, through all its answers.
    """

    def __init__(self, resumption: Resumption) -> None:
        self._resumption = resumption

    @property
    def state(self) -> State:
        """The state of the stream: ``PENDING`` until it is reached, then ``LIVE``.

        After the end it is the final state, as the service tells it: ``COMPLETE``,
        ``CANCELLED`` or ``ABORTED``. A stream that is gone right after its end counts
        as cancelled.
        """
        return self._resumption.state

    @property
    def offset(self) -> int:
        """The stream offset after the last byte that was delivered."""
        return self._resumption.events.offset

    @property
    def generation(self) -> str | None:
        """The stream's generation; None while it is not known."""
        return self._resumption.generation

    @property
    def resumes(self) -> int:
        """How many times an answer has gone on after a loss."""
        return self._resumption.resumes
