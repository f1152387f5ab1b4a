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
from shmstream.serving.event_search import (
    begin_of_event,
    end_of_event,
    searched,
    windows,
)


def offset_after(consumer: Consumer, event_id: bytes) -> int:
    """Return the offset at which the event with this id ends.

    Args:
        consumer: the stream.
        event_id: the value of the client's ``Last-Event-ID``.

    Raises:
        OffsetLost: the ring holds no such event, or the event is being overwritten.
    """
    if media_type(consumer.content_type) != EVENT_STREAM:
        raise OffsetLost(0, consumer.dropped_prefix, consumer.total_bytes)
    return searched(consumer, lambda: _search(consumer, event_id.strip(b' \t')))


def _search(consumer: Consumer, event_id: bytes) -> int | None:
    line = re.compile(rb'[\r\n]id: ?' + re.escape(event_id) + rb'[ \t]*[\r\n]')
    # The window may end within the line.
    for first, window in windows(consumer, len(event_id) + 16):
        match = _find(window, event_id, line)
        if match >= 0:
            at = first + match
            end = end_of_event(consumer, at)
            return begin_of_event(consumer, at) if end is None else end
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
