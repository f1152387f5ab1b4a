"""Why a stream has ended, as the line about its life says it (``logs.life_line``).

The supervisor writes why it cancels a stream (``cancelled by``), the producer why the
stream has ended (``cause``). Both are numbers of ``Cause``; numbers that are not known
here, of a damaged segment, are ``UNKNOWN``.
"""

from __future__ import annotations

from enum import IntEnum


class Cause(IntEnum):
    """Why a stream has ended. The comment of each says what has happened."""

    UNKNOWN = 0
    COMPLETE = 1  # its source came to its end
    STOPPED = 2  # somebody stopped it, and left what was written readable
    DELETED = 3  # somebody stopped and removed it: DELETE
    REPLACED = 4  # a newer stream took over its id
    WITHDRAWN = 5  # it was announced, and never began: no streamed answer came
    UNHEARD = 6  # nobody listened, and its POST wanted it to end then
    GIVEN_UP = 7  # its own producer cancelled it
    UPSTREAM = 8  # the upstream broke off its answer, or fell silent
    FAILED = 9  # its source or its producer failed
    NO_ROOM = 10  # memory ran out
    LEAVING = 11  # its process left, and could not wait for its end
    DROPPED = 12  # its producer was forgotten without an end
    DIED = 13  # its process died
    REMOVED = 14  # its file was removed by hand, or its deployment ended

    @property
    def label(self) -> str:
        """The word that the log shows."""
        return self.name.lower().replace('_', ' ')


def cause_of(number: int) -> Cause:
    """Return the cause with this number."""
    try:
        return Cause(number)
    except ValueError:
        return Cause.UNKNOWN
