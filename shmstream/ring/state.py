"""The states of a session. Everything that decides a session's state is here.

The producer writes one word (``State``), the supervisor another (cancelled), and the
state that a reader is told is a pure function of the two::

    producer's word   cancelled = 0   cancelled > 0
    ---------------   -------------   --------------------------------------------
    PENDING           PENDING         CANCELLED (the producer has yet to see it)
    LIVE              LIVE            CANCELLED (the producer has yet to see it)
    COMPLETE          COMPLETE        COMPLETE  (the cancel came too late)
    CANCELLED         CANCELLED       CANCELLED
    ABORTED           ABORTED         ABORTED

PENDING -> LIVE -> COMPLETE | CANCELLED | ABORTED, and PENDING -> any of the three;
COMPLETE, CANCELLED and ABORTED are final: no byte enters after them.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """What the producer says of its stream.

    Example::

        if consumer.state is shmstream.State.CANCELLED:
            print('somebody has stopped it')
    """

    PENDING = 0
    """It was asked for, and has not begun."""

    LIVE = 1
    """It is being written."""

    COMPLETE = 2
    """Its source has come to the end."""

    CANCELLED = 3
    """Somebody has stopped it, or another stream has taken its id."""

    ABORTED = 4
    """It has failed; its last event says why, if its format can say so."""

    @property
    def final(self) -> bool:
        """Whether nothing can enter the stream any more."""
        return self >= FIRST_FINAL

    @property
    def label(self) -> str:
        """The word that HTTP clients see."""
        return _LABELS[self]


_LABELS = tuple(state.name.lower() for state in State)

FIRST_FINAL = int(State.COMPLETE)
"""The lowest number of a final state: numbers are compared faster than states."""

STATES = tuple(State)
"""All states by number: indexing this costs less than ``State(number)``."""


def effective(producer_word: State, cancelled_at: int) -> State:
    """Return the state that a reader is told (the table above)."""
    if cancelled_at and not producer_word.final:
        return State.CANCELLED
    return producer_word
