"""The ids that events are given: a generation, and the offset of the event's end."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shmstream.consumer import MAX_OFFSET
from shmstream.serving.problems import Problem
from shmstream.serving.request import Request

_FORM = re.compile(rb'([0-9a-f]{16})-(0|[1-9][0-9]{0,18})')


@dataclass(frozen=True, slots=True)
class EventId:
    """The id of an event.

    Attributes:
        generation: the generation of the stream.
        offset: the offset in the stream at which the event ends.
    """

    generation: str
    offset: int


def id_line(generation: str, offset: int) -> bytes:
    """Return the line that gives an event its id."""
    return b'id: %s-%d\n' % (generation.encode(), offset)


def last_event_of(request: Request) -> EventId | None:
    """Return the last event that the client has; None if it has none.

    The header ``Last-Event-ID`` wins over ``?last_event_id=``, which a page puts into
    the address of its first connection.

    Raises:
        Problem: 400, the id is none that was given out.
    """
    raw = request.header(b'last-event-id') or request.parameter(b'last_event_id')
    if not raw:
        return None
    found = parsed(raw)
    if found is None:
        raise Problem(400, "Invalid 'Last-Event-ID': not an id of these events")
    return found


def parsed(raw: bytes) -> EventId | None:
    """Return an id of ours; None if these bytes are none."""
    match = _FORM.fullmatch(raw)
    if match is None or int(match[2]) > MAX_OFFSET:
        return None
    return EventId(match[1].decode(), int(match[2]))
