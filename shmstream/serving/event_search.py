"""Searches the bytes of a stream, and finds where events begin and end.

A search goes over megabytes, while the ring may drop the bytes that it has yet to look
at: then ``Consumer.read`` raises ``OffsetLost``, and the search begins anew with what
is left (``searched``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from shmstream.consumer import Consumer
from shmstream.errors import OffsetLost

AT_ONCE = 256 * 1024
"""Bytes, at most, that are searched on an event loop. A thread searches more bytes."""

_PIECE = 256 * 1024
_TRIES = 3

_BLANK = re.compile(rb'\r\n(?:\r\n|\n|\r)|\n(?:\r\n|\n|\r)|\r\r\n?')
_LONGEST_BLANK = 4

Found = TypeVar('Found')


def to_search(consumer: Consumer) -> int:
    """Return how many bytes have to be searched, at the most."""
    return consumer.total_bytes - consumer.dropped_prefix


def searched(consumer: Consumer, search: Callable[[], Found | None]) -> Found:
    """Return what a search finds.

    Args:
        consumer: the stream.
        search: returns None if the ring does not hold what is searched for.

    Raises:
        OffsetLost: the ring does not hold it, or is overwritten faster than it is
            searched.
        Whatever ``search`` raises.
    """
    for _ in range(_TRIES):
        try:
            found = search()
        except OffsetLost:
            # The ring has dropped bytes during the search. Search what is left.
            continue
        if found is not None:
            return found
        break
    raise OffsetLost(0, consumer.dropped_prefix, consumer.total_bytes)


def windows(consumer: Consumer, overlap: int) -> Iterator[tuple[int, bytes]]:
    """Go over all that the ring holds: yield pieces, and the offset of each.

    A stream's first byte has a line end before it here, at offset -1, because a line
    begins there.

    Args:
        consumer: the stream.
        overlap: how many bytes of a piece come again at the beginning of the next one.
    """
    dropped, end = consumer.dropped_prefix, consumer.total_bytes
    window, first = (b'\n', -1) if dropped == 0 else (b'', dropped)
    at = dropped
    while at < end:
        piece = consumer.read(at, min(_PIECE, end - at))
        if not piece:
            return
        at += len(piece)
        window += piece
        yield first, window
        first += max(len(window) - overlap, 0)
        window = window[-overlap:]


def end_of_event(consumer: Consumer, at: int) -> int | None:
    """Return the offset after the event that holds this offset; None: it has no end."""
    window, end = b'', consumer.total_bytes
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
    return None


def begin_of_event(consumer: Consumer, at: int) -> int | None:
    """Return the offset of the event that holds this offset; None: it is dropped."""
    window, dropped = b'', consumer.dropped_prefix
    while at > dropped:
        first = max(dropped, at - _PIECE)
        window = consumer.read(first, at - first) + window[:_LONGEST_BLANK]
        begin = None
        for match in _BLANK.finditer(window):
            begin = match.end()
        if begin is not None:
            return first + begin
        at = first
    return 0 if dropped == 0 else None
