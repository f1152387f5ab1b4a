"""Finds the offset for a client that names the last event it has (``Last-Event-ID``).

Some producers write ids into their events (LangGraph's servers, for example). The
replay begins after the event that holds the line ``id: X``::

    event: values
    id: 1700000-3           <- the line
    data: {...}
                            <- a blank line, the event's end
    event: values           <- the replay begins here

A line begins after a line end (CR, LF or both). So if the ring has dropped the
beginning of a line, the rest is not taken for a line. If several events have the same
id, the first event counts. This may repeat events, but loses none. If the event with
the id has no end yet, the replay begins with this event, because no client has all of
it.
"""

from __future__ import annotations

import re

from shmstream.consumer import Consumer
from shmstream.dialects.framing import EVENT_STREAM, media_type
from shmstream.errors import OffsetLost

AT_ONCE = 256 * 1024
"""Bytes, at most, that are searched on an event loop. A thread searches more bytes."""

_PIECE = 256 * 1024
_TRIES = 3

_BLANK = re.compile(rb'\r\n(?:\r\n|\n|\r)|\n(?:\r\n|\n|\r)|\r\r\n?')
_LONGEST_BLANK = 4


def to_search(consumer: Consumer) -> int:
    """Return how many bytes have to be searched, at the most."""
    return consumer.total_bytes - consumer.dropped_prefix


def offset_after(consumer: Consumer, event_id: bytes) -> int:
    """Return the offset at which the event with this id ends.

    Args:
        consumer: the stream.
        event_id: the value of the client's ``Last-Event-ID``.

    Raises:
        OffsetLost: the ring holds no such event, or the event is being overwritten.
    """
    if media_type(consumer.content_type) == EVENT_STREAM:
        for _ in range(_TRIES):
            try:
                found = _search(consumer, event_id.strip(b' \t'))
            except OffsetLost:
                # The ring has dropped bytes during the search. Search what is left.
                continue
            if found is not None:
                return found
            break
    raise OffsetLost(0, consumer.dropped_prefix, consumer.total_bytes)


def _search(consumer: Consumer, event_id: bytes) -> int | None:
    dropped, end = consumer.dropped_prefix, consumer.total_bytes
    # A line begins at the first byte of a stream, as if a line end came before.
    window, first = (b'\n', -1) if dropped == 0 else (b'', dropped)
    line = re.compile(rb'[\r\n]id: ?' + re.escape(event_id) + rb'[ \t]*[\r\n]')
    at = dropped
    while at < end:
        piece = consumer.read(at, min(_PIECE, end - at))
        if not piece:
            return None
        at += len(piece)
        window += piece
        match = _find(window, event_id, line)
        if match >= 0:
            return _end_of_event(consumer, first + match, end)
        # The window may end within the line. So its end is searched again.
        keep = len(event_id) + 16
        first += max(len(window) - keep, 0)
        window = window[-keep:]
    return None


def _find(window: bytes, event_id: bytes, line: re.Pattern[bytes]) -> int:
    """Return where in the window the line begins; -1 if it is not there."""
    found = []
    for needle in (b'id: ' + event_id, b'id:' + event_id):
        # ``find`` is faster than any pattern, and megabytes may hold few ids.
        at = window.find(needle, 1)
        while at >= 0:
            if line.match(window, at - 1):
                found.append(at)
                break
            at = window.find(needle, at + 1)
    return min(found, default=-1)


def _end_of_event(consumer: Consumer, line: int, end: int) -> int:
    """Return the offset after the event whose ``id`` line is at this offset."""
    window, at = b'', line
    while at < end:
        piece = consumer.read(at, min(_PIECE, end - at))
        if not piece:
            break
        window = window[-_LONGEST_BLANK:] + piece
        at += len(piece)
        match = _BLANK.search(window)
        # A blank line at the end of the window may go on in the next piece.
        if match is not None and (match.end() < len(window) or at >= end):
            return at - len(window) + match.end()
    return _begin_of_event(consumer, line)


def _begin_of_event(consumer: Consumer, line: int) -> int:
    first = max(consumer.dropped_prefix, line - _PIECE)
    before = consumer.read(first, line - first) if line > first else b''
    begin = 0 if first == 0 else None
    for match in _BLANK.finditer(before):
        begin = match.end()
    if begin is None:
        raise OffsetLost(first, consumer.dropped_prefix, consumer.total_bytes)
    return first + begin
