"""Parses one event of a stream, as the HTML standard says how."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shmstream.dialects.framing import Framing


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, or one JSON line.

    Attributes:
        data: the values of the ``data:`` fields, one per line; or the JSON line.
        event: the value of the ``event:`` field. ``message`` if there is none.
        id: the value of the ``id:`` field; empty if this event has none.

    Example:
        >>> Event('{"n": 1}').json()
        {'n': 1}
    """

    data: str
    event: str = 'message'
    id: str = ''

    @property
    def is_end_mark(self) -> bool:
        """Whether it is ``[DONE]``, which ends the streams of OpenAI and others."""
        return self.data.strip() == '[DONE]'

    def json(self) -> Any:
        """Return the parsed data.

        Raises:
            ValueError: the data is not JSON.
        """
        return json.loads(self.data)


def parsed(block: bytes, framing: Framing) -> Event | None:
    """Return the event in a block of bytes; None if it is only comments.

    Args:
        block: one event with its end, and the comments before it.
        framing: the framing of the stream.
    """
    text = block.decode('utf-8', 'replace')
    if framing is not Framing.EVENTS:
        line = text.strip(' \t\r\n\x1e')
        return Event(line) if line else None
    text = text.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n')
    data: list[str] = []
    name = found_id = ''
    # Not ``splitlines``, which also splits at characters that an event may contain.
    for line in text.split('\n'):
        field, _, value = line.partition(':')
        value = value.removeprefix(' ')
        if field == 'data':
            data.append(value)
        elif field == 'event':
            name = value
        elif field == 'id' and '\0' not in value:
            found_id = value
    if not data:
        # The standard dispatches no event without data.
        return None
    return Event('\n'.join(data), name or 'message', found_id)
