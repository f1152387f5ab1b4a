"""Parses the events in a block of bytes, as a reader of the stream would."""

from __future__ import annotations

import functools
import json
from typing import Any

from shmstream.dialects.framing import Framing

_BYTE_ORDER_MARK = b'\xef\xbb\xbf'


class Event:
    """One event, or one JSON line.

    Attributes:
        name: the value of the ``event:`` field; empty for a JSON line.
        data: the values of the ``data:`` fields, one per line; or the JSON line.
    """

    def __init__(self, name: bytes, data: bytes) -> None:
        self.name = name
        self.data = data

    @functools.cached_property
    def fields(self) -> dict[str, Any]:
        """The members of the JSON object in ``data``; empty if there is no object."""
        try:
            found = json.loads(self.data)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def type(self) -> str:
        """The member ``type``; empty if there is none, or if its value is no text."""
        found = self.fields.get('type')
        return found if isinstance(found, str) else ''


def events_in(block: bytes, framing: Framing) -> list[Event]:
    """Return the events in a block of bytes.

    If the block ends within an event, this event is returned as well. A comment has
    neither a name nor data, and is left out.

    Args:
        block: bytes of a stream. They must begin where an event begins.
        framing: the framing of the stream.
    """
    if framing is Framing.OPAQUE:
        return []
    if framing is not Framing.EVENTS:
        lines = (line.strip(b' \t\r\x1e') for line in block.split(b'\n'))
        return [Event(b'', line) for line in lines if line]
    return _some(_with_plain_ends(block).split(b'\n\n'))


def first_events(block: bytes, most: int) -> list[Event]:
    """Return the first of the server-sent events in a block, see ``events_in``.

    Args:
        block: bytes of a stream.
        most: how many are split off, at most; comments count.
    """
    return _some(_with_plain_ends(block).split(b'\n\n', most)[:most])


def last_events(block: bytes, most: int) -> list[Event]:
    """Return the last of the server-sent events in a block; see ``first_events``."""
    return _some(_with_plain_ends(block).rsplit(b'\n\n', most)[-most:])


def _with_plain_ends(block: bytes) -> bytes:
    texts = block.removeprefix(_BYTE_ORDER_MARK)
    if b'\r' in texts:
        texts = texts.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
    return texts


def _some(texts: list[bytes]) -> list[Event]:
    return [event for event in map(_event, texts) if event.name or event.data]


def _event(text: bytes) -> Event:
    name, data = b'', []
    for line in text.split(b'\n'):
        field, _, value = line.partition(b':')
        if field == b'data':
            data.append(value.removeprefix(b' '))
        elif field == b'event':
            name = value.removeprefix(b' ')
    return Event(name, b'\n'.join(data))
