"""From a content type to where an event of the stream ends."""

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
    """Where an event ends.

    ``EVENTS`` are server-sent events, which end with a blank line. ``LINES`` are JSON
    lines; ``RECORDS`` are lines as well, each after an RS character (RFC 7464).
    ``OPAQUE`` is every other type: its bytes have no events that anybody here knows of.
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
