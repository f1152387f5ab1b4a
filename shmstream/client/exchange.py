"""What the core of the client asks for, and what a transport makes of it.

A transport sends one request and reads one answer. It knows nothing of streams, but it
takes off content codings. There are transports for sockets (``sockets``), for event
loops (``aio``), and for the clients of the package ``openai`` (``openai_transport``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

MOST_OF_AN_ERROR = 64 * 1024
"""Bytes that are read of the body of an answer that is no stream."""


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        begins: whether it is the POST that begins the stream.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    begins: bool = False


class Lost(Exception):
    """The connection could not be made, or ended before the answer did.

    Attributes:
        sent: whether the server may have got the request.
    """

    def __init__(self, why: str, *, sent: bool = True) -> None:
        super().__init__(why)
        self.sent = sent


class Answer(Protocol):
    """An answer whose body is still coming.

    Attributes:
        headers: the headers, with names in lower case.
    """

    status: int
    headers: Mapping[str, str]

    def read(self) -> bytes:
        """Return the next bytes below the coding; empty at a clean end.

        Raises:
            Lost: the connection ended, or was silent for too long.
        """

    def close(self) -> None:
        """Hang up."""


class AsyncAnswer(Protocol):
    """The same on an event loop. A cancelled ``read`` has taken nothing."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Return the next bytes below the coding; empty at a clean end."""

    async def close(self) -> None:
        """Hang up."""


Open = Callable[[Asked], Answer]
"""Sends a request and returns once the head of the answer is there, or raises
``Lost``."""

AsyncOpen = Callable[[Asked], Awaitable[AsyncAnswer]]
"""The same on an event loop."""


def error_body(answer: Answer) -> bytes:
    """Return the body of an answer that is no stream, or its beginning."""
    body = b''
    try:
        while len(body) < MOST_OF_AN_ERROR and (data := answer.read()):
            body += data
    except Lost:
        # The status is what counts.
        pass
    return body[:MOST_OF_AN_ERROR]


async def error_body_of(answer: AsyncAnswer) -> bytes:
    """As ``error_body``, on an event loop."""
    body = b''
    try:
        while len(body) < MOST_OF_AN_ERROR and (data := await answer.read()):
            body += data
    except Lost:
        pass
    return body[:MOST_OF_AN_ERROR]
