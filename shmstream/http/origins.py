"""Which pages of other origins may use the service (CORS)."""

from __future__ import annotations

from shmstream.serving.reply import Reply
from shmstream.serving.request import Header, Request

_EXPOSED = (
    b'Location, Retry-After, Stream-Dropped-Prefix, Stream-Generation, Stream-Offset,'
    b' Stream-State, Stream-Token, Stream-Total-Bytes, Stream-Worker'
)
_ALLOWED_HEADERS = (
    b'Authorization, Content-Type, Last-Event-ID, Stream-On-Disconnect,'
    b' X-Conversation-Id'
)
_PREFLIGHT_S = 600


class Origins:
    """The origins that are named, and what their pages may do.

    Args:
        origins: such as ``https://chat.example.org``.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self.named = frozenset(origin.encode() for origin in origins)

    def preflight(self, request: Request) -> Reply | None:
        """Return the reply to a preflight request; None if the request is not one."""
        if request.header(b'access-control-request-method') is None:
            return None
        headers: list[Header] = []
        if request.header(b'origin') in self.named:
            headers += [
                (b'access-control-allow-methods', b'GET, HEAD, POST, DELETE'),
                (b'access-control-allow-headers', _ALLOWED_HEADERS),
                (b'access-control-max-age', b'%d' % _PREFLIGHT_S),
            ]
        return Reply(204, headers, b'')

    def headers(self, request: Request) -> list[Header]:
        """Return the headers that say whether the requesting page may see a reply."""
        if not self.named:
            return []
        headers = [(b'vary', b'Origin')]
        origin = request.header(b'origin')
        if origin in self.named and origin is not None:
            headers += [
                (b'access-control-allow-origin', origin),
                (b'access-control-expose-headers', _EXPOSED),
            ]
        return headers
