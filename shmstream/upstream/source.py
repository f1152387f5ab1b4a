"""The interface of a source: the upstream, or the demo model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from shmstream.dialects.framing import EVENT_STREAM, LINE_TYPES, media_type

Headers = list[tuple[str, str]]

STREAM_TYPES = LINE_TYPES | {EVENT_STREAM}
"""Answers of these types become streams: OpenAI's events and Ollama's lines."""


_PLAIN = frozenset(
    {'', 'identity', 'none', 'utf-8', 'utf8', 'ascii', 'us-ascii', '7bit', '8bit'}
    | {'binary'}
)
"""Values of ``Content-Encoding`` by which servers say that there is no encoding."""

_NO_BODY = (204, 205)
_SHOWN = 100


@runtime_checkable
class HeldBody(Protocol):
    """A whole body that is held in pieces. Iterating over it removes the pieces.

    Attributes:
        size: bytes that the body had when it was read.
    """

    size: int

    def whole(self) -> bytes:
        """Remove all pieces, and return them as one."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True)
class UpstreamRequest:
    """A request as it is sent upstream.

    Attributes:
        method: the method, such as GET.
        target: the raw path and query, as the client sent them.
        headers: the end-to-end headers.
        body: the bytes, an iterator over them, or None if there is no body.
        prefix: the path below which the client reaches the service.
    """

    method: str
    target: str
    headers: Headers
    body: bytes | AsyncIterator[bytes] | None
    prefix: str = ''


class Answer(Protocol):
    """An answer whose headers have arrived. The caller has to close it.

    Attributes:
        status: the status.
        headers: the end-to-end headers.
        framed: whether the answer says how its body ends, by a length or in chunks. If
            not, the body ends with its connection, whatever has ended that.
    """

    status: int
    headers: Headers
    framed: bool

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises ``UpstreamBroken`` if it breaks off."""

    def close(self) -> None:
        """Close the answer at once. An upstream that is not at its end then stops."""


@dataclass(frozen=True)
class Closed:
    """How a WebSocket was closed: code and reason (RFC 6455, section 7.4)."""

    code: int
    reason: str = ''


class OpenSocket(Protocol):
    """An open WebSocket of the upstream; see ``sockets.UpstreamSocket``."""

    protocol: str | None
    headers: Headers

    async def receive(self) -> str | bytes | Closed:
        """Wait for a message. After the last one, return how the upstream closed."""

    async def send(self, message: str | bytes) -> None:
        """Send a message. Raises ``OSError`` if the connection is closed."""

    async def close(self, code: int, reason: str, wait_s: float) -> None:
        """Close; wait at most ``wait_s`` seconds for the upstream to close as well."""

    def drop(self) -> None:
        """Cut the connection."""


class Source(Protocol):
    """Answers requests."""

    async def open(self) -> None:
        """Prepare, on the event loop that will send the requests."""

    async def send(self, request: UpstreamRequest) -> Answer:
        """Return the answer when its headers have arrived.

        Raises:
            UpstreamUnreachable, UpstreamTimeout, TargetRefused.
        """

    async def web_socket(
        self, request: UpstreamRequest, protocols: list[str], max_message: int
    ) -> OpenSocket:
        """Open a WebSocket.

        Args:
            request: the client's request.
            protocols: the subprotocols that the client speaks.
            max_message: bytes of the largest message that is taken.

        Raises:
            UpstreamUnreachable, UpstreamTimeout, UpstreamRefused, TargetRefused.
        """

    async def close(self) -> None:
        """Close all connections."""


class ClientLeft(ConnectionResetError):
    """A client left before its whole body had arrived."""


class UpstreamUnreachable(Exception):
    """There is no connection, or it broke before the answer's headers."""


class UpstreamTimeout(Exception):
    """The answer did not begin in time."""


class TargetRefused(Exception):
    """A request target must not be sent upstream. The message says why."""


class UpstreamRefused(Exception):
    """The upstream answered a WebSocket handshake with a status other than 101.

    Attributes:
        status: the status for the client: the upstream's, or 502 if it is no error.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f'upstream answered {status} to the handshake')
        self.status = status if 400 <= status < 600 else 502


class UpstreamBroken(Exception):
    """The answer's body broke off."""


def header(headers: Headers, name: str) -> str:
    """Return the first header of this lower-case name, or an empty string."""
    return next((v for n, v in headers if n.lower() == name), '')


def why_no_stream(answer: Answer, more_types: Collection[str] = ()) -> str:
    """Return in words why an answer becomes no stream; '' if it becomes one.

    A stream has a 2xx status and a streamed type, and is not compressed: nobody could
    resume a compressed answer at an offset.

    Args:
        answer: the answer.
        more_types: media types, or ranges of them (``audio/*``), beside the usual ones.
    """
    if not 200 <= answer.status < 300 or answer.status in _NO_BODY:
        return f'its status is {answer.status}'
    encoding = header(answer.headers, 'content-encoding')
    codings = (coding.strip().lower() for coding in encoding.split(','))
    if not _PLAIN.issuperset(codings):
        return f'its Content-Encoding is {encoding[:_SHOWN]!r}'
    content_type = header(answer.headers, 'content-type')
    kind = media_type(content_type)
    whole_range = kind.partition('/')[0] + '/*'
    if kind not in STREAM_TYPES and not {kind, whole_range}.intersection(more_types):
        return f'its Content-Type is {content_type[:_SHOWN]!r}, no stream'
    return ''
