"""What the formats of the demo model share: their interface, and their events."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Protocol

from shmstream.chance import random_bits

MODEL = 'shmstream-demo'

Fields = dict[str, Any]


class Format(Protocol):
    """One answer in one dialect.

    Attributes:
        content_type: the content type of the streamed answer.
        lists: the member of a request that must be a list; empty if none must.
        limits: the members of a request that may say how many words the answer has. The
            first member that is there counts.
        streams: whether the answer is streamed if the request does not say so.
    """

    content_type: ClassVar[str]
    lists: ClassVar[str]
    limits: ClassVar[tuple[str, ...]]
    streams: ClassVar[bool]

    def opening(self) -> bytes:
        """Return the events before the first word."""

    def word(self, word: str) -> bytes:
        """Return the event of a word."""

    def closing(self) -> bytes:
        """Return the events after the last word."""

    def whole(self, text: str, tokens: int) -> Fields:
        """Return the answer that is not streamed."""


def event(fields: Fields) -> bytes:
    """Return an event without a name."""
    return f'data: {json.dumps(fields)}\n\n'.encode()


def named(fields: Fields) -> bytes:
    """Return an event that is named by its type."""
    return f'event: {fields["type"]}\ndata: {json.dumps(fields)}\n\n'.encode()


def line(fields: Fields) -> bytes:
    """Return a line of JSON."""
    return json.dumps(fields).encode() + b'\n'


def new_id(prefix: str) -> str:
    """Return an id that no other answer has."""
    return f'{prefix}{random_bits(64):016x}'
