"""What is said at the end of a stream, from what the stream holds.

Whoever ends a stream may be another process than the one that wrote it: all that is
needed is taken from the stream's own bytes. The dialect may be known to whoever wrote
it, by headers that are not among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shmstream.dialects.events import Event, events_in
from shmstream.dialects.frames import Said, is_failure
from shmstream.dialects.framing import Framing
from shmstream.dialects.recognise import by_event
from shmstream.dialects.splitter import MAX_HELD, splitter_for
from shmstream.dialects.table import DIALECTS, Dialect, default_dialect

_LOOKS = (16 * 1024, MAX_HELD)
"""Bytes that are looked at, at either end: the more if the fewer hold no event."""

Part = Callable[[int], bytes]
"""Returns so many bytes of a stream, or as many as are there."""

_EVENTS = 64
"""How many of its events are looked at, at either end."""


@dataclass(frozen=True)
class LastWords:
    """How a stream ends.

    Attributes:
        over: the stream has said itself that it is over: nothing may follow.
        frame: what is to be written; empty if nothing is to be said, or can be.
        told: whether a reader of the stream is told how it has ended.
    """

    over: bool
    frame: bytes
    told: bool


def last_words(
    content_type: str,
    number: int,
    opening: Part,
    tail: Part,
    failure: str | None,
) -> LastWords:
    """Return how a stream ends that fails, or is stopped.

    Args:
        content_type: of the stream.
        number: of its dialect; 0 or of none: it is not known.
        opening: returns its first bytes; none if they are not there any more.
        tail: returns its last bytes.
        failure: why it has failed; None: it is stopped.
    """
    framing = default_dialect(content_type).framing
    if framing is Framing.OPAQUE:
        return LastWords(False, b'', told=failure is None)
    first = _opening(opening, framing)
    last, unfinished = _ending(opening, tail, framing)
    dialect = _known(number, framing) or _recognised(content_type, first, last)
    said = Said(first, last)
    at_the_end = last[-1:] if dialect.may_go_on else last
    if not unfinished and any(map(dialect.ends, at_the_end)):
        return LastWords(True, b'', told=True)
    if failure is None:
        frame = dialect.stop(said)
    elif last and is_failure(last[-1]):
        # Whoever came to write it was interrupted before he could say that it is over.
        return LastWords(False, b'', told=True)
    else:
        frame = dialect.failure(failure, said)
    if unfinished and frame:
        frame = (b'\n\n' if framing is Framing.EVENTS else b'\n') + frame
    return LastWords(False, frame, told=True)


def _opening(opening: Part, framing: Framing) -> list[Event]:
    """Return the first whole events."""
    found: list[Event] = []
    for size in _LOOKS:
        begin = opening(size)
        found, _ = _whole(begin, framing)
        if found or len(begin) < size:
            break
    return found[:_EVENTS]


def _ending(opening: Part, tail: Part, framing: Framing) -> tuple[list[Event], bool]:
    """Return the last whole events, and whether an unfinished one follows."""
    found: list[Event] = []
    unfinished = False
    for size in _LOOKS:
        end = tail(size)
        whole_tail = _from_event(end, opening(len(end)), framing)
        found, unfinished = _whole(whole_tail, framing)
        if found or len(end) < size:
            break
    return found[-_EVENTS:], unfinished


def _whole(block: bytes, framing: Framing) -> tuple[list[Event], bool]:
    """Return the whole events of a block, and whether an unfinished one follows."""
    splitter = splitter_for(framing)
    return events_in(splitter.feed(block), framing), bool(splitter.held)


def _from_event(tail: bytes, opening: bytes, framing: Framing) -> bytes:
    """Leave out the end of an event that the tail begins with."""
    if tail == opening:
        return tail
    blank = framing is Framing.EVENTS
    ends = (b'\n\n', b'\r\n\r\n', b'\r\r') if blank else (b'\n',)
    found = [tail.find(end) + len(end) for end in ends if end in tail]
    return tail[min(found) :] if found else tail


def _known(number: int, framing: Framing) -> Dialect | None:
    dialect = DIALECTS.get(number)
    return dialect if dialect is not None and dialect.framing is framing else None


def _recognised(content_type: str, first: list[Event], last: list[Event]) -> Dialect:
    default = default_dialect(content_type)
    for at, event in enumerate(first):
        found = by_event(event, default.framing, first=at == 0)
        if found is not None:
            return found
    for event in reversed(last):
        found = by_event(event, default.framing, first=False)
        if found is not None:
            return found
    return default
