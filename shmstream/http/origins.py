"""Which pages of other origins may use the service (CORS)."""

from __future__ import annotations

import re

from shmstream.kept_headers import NAMES as KEPT_NAMES
from shmstream.origin_patterns import OriginPatterns
from shmstream.serving.reply import Reply
from shmstream.serving.request import Header, Request

_EXPOSED = ', '.join(
    [
        'Content-Location',
        'Location',
        'Retry-After',
        'Stream-Dropped-Prefix',
        'Stream-Generation',
        'Stream-Offset',
        'Stream-State',
        'Stream-Token',
        'Stream-Total-Bytes',
        'Stream-Worker',
        *KEPT_NAMES,
    ]
).encode()
_PREFLIGHT_S = 600

_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, \t-]{1,4096}")
"""A list of header names, or one method, as a preflight asks for them."""


class Origins:
    """The origins that are named, and what their pages may do.

    Args:
        origins: patterns, such as ``https://chat.example.org``.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._patterns = OriginPatterns(origins)

    @property
    def some(self) -> bool:
        """Whether any origin is named."""
        return self._patterns.some

    def name(self, origin: bytes | None) -> bool:
        """Whether this ``Origin`` is named."""
        return self._patterns.names(origin)

    def preflight(self, request: Request) -> Reply | None:
        """Return the reply to a preflight request; None if the request is not one.

        A page of a named origin may use all headers and methods that it asks for.
        Clients send headers of their own (``x-stainless-os``, ``traceparent``), and
        only the upstream knows its methods.
        """
        method = request.header(b'access-control-request-method')
        if method is None:
            return None
        headers: list[Header] = []
        asked = request.header(b'access-control-request-headers')
        if self.name(request.header(b'origin')) and _NAMES.fullmatch(method):
            headers += [
                (b'access-control-allow-methods', method),
                (b'access-control-max-age', b'%d' % _PREFLIGHT_S),
            ]
            if asked is not None and _NAMES.fullmatch(asked):
                headers.append((b'access-control-allow-headers', asked))
            if request.header(b'access-control-request-private-network') == b'true':
                headers.append((b'access-control-allow-private-network', b'true'))
        return Reply(204, headers, b'')

    def headers(self, request: Request) -> list[Header]:
        """Return the headers that say whether the requesting page may see a reply."""
        if not self.some:
            return []
        headers = [(b'vary', b'Origin')]
        origin = request.header(b'origin')
        if origin is not None and self.name(origin):
            headers += [
                (b'access-control-allow-origin', origin),
                (b'access-control-expose-headers', _EXPOSED),
            ]
        return headers
