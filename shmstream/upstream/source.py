"""What the service expects of whatever answers its requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Protocol

from shmstream.dialects.framing import EVENT_STREAM, LINE_TYPES, media_type

Headers = list[tuple[str, str]]

STREAM_TYPES = LINE_TYPES | {EVENT_STREAM}
"""Answers of these types become sessions: OpenAI's events, and Ollama's lines."""


@dataclass(frozen=True)
class UpstreamRequest:
    """A request as it goes upstream.

    Attributes:
        method: GET, POST, ...
        target: raw path and query, as the client sent them.
        headers: end-to-end headers only.
        body: the bytes, an iterator over them, or None.
    """

    method: str
    target: str
    headers: Headers
    body: bytes | AsyncIterator[bytes] | None


class Answer(Protocol):
    """An answer whose headers have come. Must be closed."""

    status: int
    headers: Headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ``UpstreamBroken`` if it breaks off."""

    def close(self) -> None:
        """Let go at once; an answer that is not at its end is stopped by it."""


class Source(Protocol):
    """Something that answers."""

    async def open(self) -> None:
        """Get ready, on the event loop that will be used."""

    async def send(self, request: UpstreamRequest) -> Answer:
        """Return the answer once its headers have come.

        Raises:
            UpstreamUnreachable, UpstreamTimeout.
        """

    async def close(self) -> None:
        """Close connections."""


class UpstreamUnreachable(Exception):
    """No connection, or it broke before the answer's headers."""


class UpstreamTimeout(Exception):
    """No answer in time."""


class UpstreamBroken(Exception):
    """The answer broke off in its body."""


def header(headers: Headers, name: str) -> str:
    """The first header of this lower-case name, or an empty string."""
    return next((v for n, v in headers if n.lower() == name), '')


def is_stream(answer: Answer, more_types: Collection[str] = ()) -> bool:
    """Whether the answer is a streamed 2xx one, and its bytes are what they seem.

    A compressed stream is none: nobody could resume it at an offset.

    Args:
        answer: the answer.
        more_types: media types, or ranges of them (``audio/*``), beside the usual ones.
    """
    if not 200 <= answer.status < 300:
        return False
    encoding = header(answer.headers, 'content-encoding').strip().lower()
    if encoding not in ('', 'identity'):
        return False
    kind = media_type(header(answer.headers, 'content-type'))
    return kind in STREAM_TYPES or bool(
        {kind, kind.partition('/')[0] + '/*'}.intersection(more_types)
    )
