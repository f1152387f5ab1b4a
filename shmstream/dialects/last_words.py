"""Decides what is written at the end of a stream that fails or is stopped.

The process that ends a stream need not be its producer. So the last frame is made from
the stream's own bytes. Only the number of the dialect is taken from elsewhere, because
the producer may have recognised the dialect by headers, which the stream does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shmstream.dialects.events import Event, events_in
from shmstream.dialects.frames import Said, fitted, is_failure
from shmstream.dialects.framing import Framing
from shmstream.dialects.recognise import by_event
from shmstream.dialects.splitter import MAX_HELD, splitter_for
from shmstream.dialects.table import DIALECTS, Dialect, default_dialect

_LOOKS = (16 * 1024, MAX_HELD)
"""Bytes that are looked at, at the beginning and at the end of a stream. The larger
number is used if the smaller number of bytes holds no whole event."""

Part = Callable[[int], bytes]
"""A function that returns this many bytes of a stream, or all if there are fewer."""

_EVENTS = 64
"""How many events are looked at, at most, at the beginning and at the end of a
stream."""


@dataclass(frozen=True)
class LastWords:
    """How a stream ends.

    Attributes:
        over: whether the stream has said itself that it is over. Nothing may follow.
        frame: the bytes to write; empty if nothing has to be told, or if the dialect
            cannot tell it.
        told: whether readers learn from the stream's bytes how the stream has ended. If
            not, their responses are cut.
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
    """Return how a stream ends that fails or is stopped.

    Args:
        content_type: the content type of the stream.
        number: the number of the stream's dialect. If no dialect has this number (0,
            for example), the dialect is recognised from the stream's events.
        opening: returns the first bytes of the stream; no bytes if the ring does not
            hold them any more.
        tail: returns the last bytes of the stream.
        failure: why the stream has failed; None if it is stopped.
    """
    framing = default_dialect(content_type).framing
    if framing is Framing.OPAQUE:
        return LastWords(False, b'', told=failure is None)
    first = _opening(opening, framing)
    last, unfinished = _ending(opening, tail, framing)
    dialect = _known(number, framing) or _recognised(content_type, first, last)
    said = Said(first, last)
    if not unfinished and dialect.is_over(last):
        return LastWords(True, b'', told=True)
    if failure is not None and last and is_failure(last[-1]):
        # A process wrote this event, but died before it could publish the final state.
        return LastWords(False, b'', told=True)

    def frame(repeated: Said) -> bytes:
        if failure is None:
            made = dialect.stop(repeated)
        else:
            made = dialect.failure(failure, repeated)
        if unfinished and made:
            made = (b'\n\n' if framing is Framing.EVENTS else b'\n') + made
        return made

    return LastWords(False, fitted(frame, said), told=True)


def _opening(opening: Part, framing: Framing) -> list[Event]:
    """Return the first whole events of the stream."""
    found: list[Event] = []
    for size in _LOOKS:
        begin = opening(size)
        found, _ = _whole(begin, framing)
        if found or len(begin) < size:
            break
    return found[:_EVENTS]


def _ending(opening: Part, tail: Part, framing: Framing) -> tuple[list[Event], bool]:
    """Return the stream's last whole events, and whether an unfinished one follows."""
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
    """Return the tail without the incomplete event at its beginning.

    A tail that equals the opening is the whole stream, and begins with a whole event.
    """
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
