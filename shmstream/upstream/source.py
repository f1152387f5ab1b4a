"""The interface of a source: the upstream, or the demo model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

Headers = list[tuple[str, str]]

STREAM_TYPES = frozenset(
    {
        'text/event-stream',
        'application/x-ndjson',
        'application/ndjson',
        'application/jsonl',
        'application/stream+json',
        'application/json-seq',
    }
)
"""Answers of these types become streams: OpenAI's events and Ollama's lines."""


@dataclass(frozen=True)
class UpstreamRequest:
    """A request as it is sent upstream.

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
    """An answer whose headers have arrived. The caller has to close it."""

    status: int
    headers: Headers

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises ``UpstreamBroken`` if it breaks off."""

    def close(self) -> None:
        """Close the answer at once. An upstream that is not at its end then stops."""


class Source(Protocol):
    """Answers requests."""

    async def open(self) -> None:
        """Prepare, on the event loop that will send the requests."""

    async def send(self, request: UpstreamRequest) -> Answer:
        """Return the answer when its headers have arrived.

        Raises:
            UpstreamUnreachable, UpstreamTimeout.
        """

    async def close(self) -> None:
        """Close connections."""


class UpstreamUnreachable(Exception):
    """There is no connection, or it broke before the answer's headers."""


class UpstreamTimeout(Exception):
    """The answer did not begin in time."""


class UpstreamBroken(Exception):
    """The answer's body broke off."""


def header(headers: Headers, name: str) -> str:
    """Return the first header of this lower-case name, or an empty string."""
    return next((v for n, v in headers if n.lower() == name), '')


def is_stream(answer: Answer) -> bool:
    """Whether the answer has a 2xx status, is streamed, and is not compressed.

    A compressed answer cannot become a stream: nobody could resume it at an offset.
    """
    if not 200 <= answer.status < 300:
        return False
    encoding = header(answer.headers, 'content-encoding').strip().lower()
    if encoding not in ('', 'identity'):
        return False
    kind = header(answer.headers, 'content-type').partition(';')[0].strip().lower()
    return kind in STREAM_TYPES
