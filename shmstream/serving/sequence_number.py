"""Finds the offset for a client of OpenAI's Responses (``starting_after``).

Each event of such a stream has a number, which grows::

    event: response.output_text.delta
    data: {"type":"response.output_text.delta","sequence_number":7,...}
                            <- a blank line, the event's end: after 7 it begins here

The numbers are searched as text, and an event is parsed only where its number decides
something: a nested member may have the same name. If no event has the number itself,
the replay begins with the next larger one. If the ring has dropped bytes, and so may
have dropped an event that the client lacks, the offset is lost.
"""

from __future__ import annotations

import re

from shmstream.consumer import MAX_OFFSET, Consumer
from shmstream.dialects.events import events_in
from shmstream.dialects.framing import EVENT_STREAM, Framing, media_type
from shmstream.errors import OffsetLost
from shmstream.serving.event_search import (
    begin_of_event,
    end_of_event,
    searched,
    windows,
)
from shmstream.serving.problems import Problem

_MEMBER = 'sequence_number'
# Within a string of JSON the quotes would have backslashes before them.
_NUMBER = re.compile(
    rb'(?<!\\)"sequence_number"[ \t]{0,8}:[ \t]{0,8}([0-9]{1,19})[ \t]{0,8}[,}\r\n]'
)
_LONGEST = 80
"""Bytes of a match of ``_NUMBER``, and of what is before it, at most."""


def offset_after(consumer: Consumer, number: int) -> int:
    """Return the offset at which the event with this number ends.

    Args:
        consumer: the stream.
        number: the value of the client's ``starting_after``.

    Raises:
        OffsetLost: the ring has dropped the event, or is just doing so.
        Problem: 400, the stream has come to no event with this number.
    """
    if media_type(consumer.content_type) != EVENT_STREAM:
        raise OffsetLost(0, consumer.dropped_prefix, consumer.total_bytes)
    return searched(consumer, lambda: _search(consumer, number))


def _search(consumer: Consumer, number: int) -> int | None:
    # Whether the event before the one that is looked at is known to be of no interest.
    seen: bool | None = None
    done = 0
    for first, window in windows(consumer, _LONGEST):
        if seen is None:
            # The search decides by what it has read: the ring may drop bytes meanwhile.
            seen = first < 0
        for match in _NUMBER.finditer(window):
            at = first + match.start()
            if at < done or (int(match[1]) < number and seen):
                continue
            begin, end = begin_of_event(consumer, at), end_of_event(consumer, at)
            # One look at an event is enough, however many members have such a name.
            done = MAX_OFFSET if end is None else end
            if begin is None:
                # It may have been the event that the client lacks.
                seen = False
                continue
            found = _number_of(consumer, begin, end)
            if found is None:
                continue
            if found < number:
                seen = True
            elif found > number:
                return begin if seen or found == number + 1 else None
            else:
                return begin if end is None else end
    if seen is None:
        seen = consumer.dropped_prefix == 0
    if not seen:
        return None
    raise Problem(
        400, f"Invalid 'starting_after': the stream has no event {number} so far"
    )


def _number_of(consumer: Consumer, begin: int, end: int | None) -> int | None:
    """Return the number of the event between these offsets; None: it has none."""
    end = consumer.total_bytes if end is None else end
    block = consumer.read(begin, end - begin)
    for event in events_in(block, Framing.EVENTS):
        found = event.fields.get(_MEMBER)
        if isinstance(found, int):
            return found
    return None
