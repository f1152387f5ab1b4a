"""The framing of a stream: its content type tells how its events end."""

from __future__ import annotations

from enum import Enum

EVENT_STREAM = 'text/event-stream'

_RECORDS = 'application/json-seq'

LINE_TYPES = frozenset(
    {
        'application/x-ndjson',
        'application/ndjson',
        'application/jsonl',
        'application/stream+json',
        _RECORDS,
    }
)
"""The media types of JSON lines."""


class Framing(Enum):
    """How the events of a stream end.

    Attributes:
        EVENTS: server-sent events. An event ends with a blank line.
        LINES: JSON lines. Each line is an event.
        RECORDS: JSON lines, each of which begins with an RS character (RFC 7464).
        OPAQUE: the bytes of every other content type. No events are known in them.
    """

    EVENTS = 'events'
    LINES = 'lines'
    RECORDS = 'records'
    OPAQUE = 'opaque'


def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(';')[0].strip().lower()


def framing_of(content_type: str) -> Framing:
    """Return the framing of a stream of this content type."""
    kind = media_type(content_type)
    if kind == EVENT_STREAM:
        return Framing.EVENTS
    if kind == _RECORDS:
        return Framing.RECORDS
    return Framing.LINES if kind in LINE_TYPES else Framing.OPAQUE
