"""What a request asks for. All that a client sends in a target is checked here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from shmstream.consumer import MAX_OFFSET
from shmstream.ids import NOBODY
from shmstream.serving.problems import Problem

Header = tuple[bytes, bytes]

_MAX_DIGITS = len(str(MAX_OFFSET))
_GENERATION = re.compile(rb'[0-9a-f]{16}')


class Request:
    """A request for a stream.

    Attributes:
        method: GET, HEAD, DELETE or another.
        path: what follows the address that streams are mounted at, as the client sent
            it: percent-encoded, without the slash in between.
        query: the query string as the client sent it.
        headers: names in lower case, and values.
        owner: whose streams may be seen.
        generation: the only generation that may be seen; None: any.
        environment: what the server says of the request: the ASGI scope, or the WSGI
            environ. The core does not read it; an application's ``permit`` may.
    """

    __slots__ = (
        'environment',
        'generation',
        'headers',
        'method',
        'owner',
        'path',
        'query',
    )

    def __init__(
        self,
        method: str,
        path: bytes,
        query: bytes = b'',
        headers: Iterable[Header] = (),
        owner: bytes = NOBODY,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.owner = owner
        self.generation: str | None = None
        self.environment = {} if environment is None else environment

    def __str__(self) -> str:
        # Without the query, which may hold a token.
        return f'{self.method} {self.path.decode("latin-1") or "/"}'

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this lower-case name; None without it."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def parameter(self, name: bytes) -> bytes | None:
        """Return the first value of a query parameter; None without it."""
        return parameter(self.query, name) if self.query else None

    def conversation_id(self) -> str:
        """Return the id from the path, or from ``?conv_id=``.

        Raises:
            Problem: 400, there is none, or it is not UTF-8.
        """
        raw = _decoded(self.path) or self.parameter(b'conv_id')
        if not raw:
            raise Problem(400, 'Missing conversation id in path')
        try:
            return raw.decode('utf-8')
        except UnicodeDecodeError:
            raise Problem(400, 'conversation id is not valid UTF-8') from None

    def offset(self) -> int:
        """Return ``?from=``, 0 without it.

        Raises:
            Problem: 400, it is not a plain decimal number below 2^63.
        """
        raw = self.parameter(b'from')
        if raw is None:
            return 0
        # Of bytes, only those of 0 to 9 are digits.
        if len(raw) <= _MAX_DIGITS and raw.isdigit():
            offset = int(raw)
            if offset <= MAX_OFFSET:
                return offset
        raise Problem(400, "Invalid 'from' offset")

    def last_event_id(self) -> bytes | None:
        """Return ``Last-Event-ID``; None without it, or if there is a ``from``."""
        if self.parameter(b'from') is not None:
            return None
        return self.header(b'last-event-id') or None

    def asked_generation(self) -> str | None:
        """Return ``?generation=``, None without it.

        Raises:
            Problem: 400, it is not a generation.
        """
        raw = self.parameter(b'generation')
        if raw is None:
            return None
        if not _GENERATION.fullmatch(raw):
            raise Problem(400, "Invalid 'generation': 16 hexadecimal digits")
        return raw.decode()


def parameter(query: bytes, name: bytes) -> bytes | None:
    """Return the first value of a query parameter, decoded to bytes; None without it.

    Bytes, because decoding that replaces what is not UTF-8 would make two ids one.
    """
    if name not in query and b'%' not in query:
        return None
    for part in query.split(b'&'):
        key, _, value = part.partition(b'=')
        if key == name or _decoded(key) == name:
            return _decoded(value.replace(b'+', b' '))
    return None


def _decoded(raw: bytes) -> bytes:
    # The library's function is slow where there is nothing to do.
    return unquote_to_bytes(raw) if b'%' in raw else raw


def path_below(path: bytes, mount: bytes) -> bytes | None:
    """Return what of a percent-encoded path follows the address of a mount.

    Args:
        path: as the client sent it.
        mount: such as ``/v1/stream``, without a slash at its end.

    Returns:
        None if the path does not lead there, name by name: a router that has found it
        there has read the path in another way, and an id cannot be told from it.
    """
    if path.startswith(mount) and path[len(mount) : len(mount) + 1] in (b'', b'/'):
        return path[len(mount) + 1 :]
    # The client may have percent-encoded the address itself, too.
    names = mount.split(b'/')
    parts = path.split(b'/', len(names))
    if [_decoded(p) for p in parts[: len(names)]] != [_decoded(n) for n in names]:
        return None
    return parts[-1] if len(parts) > len(names) else b''
