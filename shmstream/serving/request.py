"""A request for a stream, and what its target says: id, offset and generation.

Offset and generation are checked here. Of the id only its UTF-8 is; ``ids.validate_id``
checks its length and its characters.
"""

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
_RANGE = re.compile(rb'bytes=0*([0-9]+)-', re.IGNORECASE)
_ENCODED = re.compile(rb'%[0-9A-Fa-f]{2}|.', re.DOTALL)
"""One byte of a percent-encoded path, encoded or not."""


class Request:
    """A request for a stream.

    Attributes:
        method: GET, HEAD, DELETE or another.
        path: the rest of the request's path after the path of all streams and one
            slash, percent-encoded. Under ASGI it is as the client sent it; WSGI servers
            decode the path, and it is encoded anew, but for slashes.
        query: the query string as the client sent it.
        headers: names in lower case, and values. Under ASGI a header that the client
            has sent twice is here twice; WSGI servers join its values by a comma.
        owner: the request sees this owner's streams only.
        generation: the request sees a stream of this generation only, and may only
            read it; None: the request sees streams of any generation.
        events: the request is for the stream's events (``serving.get_events``): it has
            ``?as=events``, or its address says so.
        chat: the request is for one of the routes of ``useChat``
            (``serving.chat_routes``), which read a stream from its beginning.
        resumes: whether the client goes on with a stream, as far as is known by now.
        transport: how the stream's bytes leave (``metrics.catalogue.TRANSPORTS``).
        environment: the ASGI scope or the WSGI environ of the request. The core does
            not read it; an application's ``permit`` may.

    Example::

        headers = [(b'last-event-id', b'7')]
        request = Request('GET', b'chat-1', b'generation=00', headers)
    """

    __slots__ = (
        'chat',
        'environment',
        'events',
        'generation',
        'headers',
        'method',
        'owner',
        'path',
        'query',
        'resumes',
        'transport',
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
        self.events = b'as=' in query and self.parameter(b'as') == b'events'
        self.chat = False
        self.resumes = False
        self.transport = 'raw'
        self.environment = {} if environment is None else environment

    def __str__(self) -> str:
        # The query is left out, because it may hold a token.
        return f'{self.method} {self.path.decode("latin-1") or "/"}'

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this lower-case name; None if there is none.

        If the client has sent the header several times, this is the first value under
        ASGI, and under WSGI all values, joined by commas.

        Example::

            asked = Request('GET', b'chat-1', headers=[(b'x-user', b'alice')])
            assert asked.header(b'x-user') == b'alice'
        """
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def parameter(self, name: bytes) -> bytes | None:
        """Return the first value of a query parameter; None if there is none.

        Example::

            asked = Request('GET', b'chat-1', b'share=a%20b')
            assert asked.parameter(b'share') == b'a b'
        """
        query = self.query
        # Most requests have no parameter, or not the one that is asked for.
        if name not in query and b'%' not in query:
            return None
        return parameter(query, name)

    def conversation_id(self) -> str:
        """Return the id from the path; if the path is empty, from ``?conv_id=``.

        Raises:
            Problem: 400, there is no id, it is not UTF-8, or ``conv_id`` comes twice:
                frameworks take the last of several values, so a ``permit`` would have
                looked at another id than this one.

        Example::

            assert Request('GET', b'my%20chat').conversation_id() == 'my chat'
        """
        raw = decoded(self.path)
        if not raw:
            raw = self.parameter(b'conv_id') or b''
            if times(self.query, b'conv_id') > 1:
                raise Problem(400, "'conv_id' must come once in the query")
        if not raw:
            raise Problem(400, 'Missing conversation id in path')
        try:
            return raw.decode('utf-8')
        except UnicodeDecodeError:
            raise Problem(400, 'conversation id is not valid UTF-8') from None

    def has_plain_id(self) -> bool:
        """Return whether the path is an id without a slash, or ``?conv_id=`` has an id.

        An application that has streams at ``/chats/ID`` may have addresses of its own
        at ``/chats`` and ``/chats/ID/title``.

        Example::

            assert not Request('GET', b'chat-1/title').has_plain_id()
        """
        if self.path:
            return b'/' not in self.path
        return bool(self.parameter(b'conv_id'))

    def start(self) -> int | bytes:
        """Return where the client wants to begin.

        Returns:
            The offset in ``?from=``; if there is none, the id in ``Last-Event-ID``,
            after whose event the client begins; 0 if there is neither, or if no client
            of the route counts bytes.

        Raises:
            Problem: 400, the offset is not a plain decimal number below 2^63.

        Example::

            assert Request('GET', b'chat-1', b'from=7').start() == 7
        """
        if self.events or self.chat:
            return 0
        raw = self.parameter(b'from')
        if raw is None:
            return self.header(b'last-event-id') or 0
        # ``isdigit`` of bytes, unlike that of a string, accepts 0 to 9 only.
        if len(raw) <= _MAX_DIGITS and raw.isdigit():
            offset = int(raw)
            if offset <= MAX_OFFSET:
                return offset
        raise Problem(400, "Invalid 'from' offset")

    def first_of_range(self) -> int | None:
        """Return N of ``Range: bytes=N-``; None if there is none.

        Other ranges are ignored, as they may be. A range counts for nothing if ``from``
        is given, or ``If-Range``: replies have no validator that it could match.

        Example::

            asked = Request('GET', b'chat-1', headers=[(b'range', b'bytes=7-')])
            assert asked.first_of_range() == 7
        """
        raw = self.header(b'range')
        if raw is None or self.chat or self.header(b'if-range') is not None:
            return None
        match = _RANGE.fullmatch(raw)
        if match is None or self.parameter(b'from') is not None:
            return None
        digits: bytes = match[1]
        return int(digits) if len(digits) <= _MAX_DIGITS else MAX_OFFSET

    def asked_generation(self) -> str | None:
        """Return the generation in ``?generation=``; None if there is none.

        Raises:
            Problem: 400, the value is not a generation.

        Example::

            assert Request('GET', b'chat-1').asked_generation() is None
        """
        raw = self.parameter(b'generation')
        if raw is None:
            return None
        if not _GENERATION.fullmatch(raw):
            raise Problem(400, "Invalid 'generation': 16 hexadecimal digits")
        return raw.decode()


def parameter(query: bytes, name: bytes) -> bytes | None:
    """Return the first value of a query parameter as bytes; None if there is none.

    Percent-encoding is decoded, but not UTF-8: a decoder that replaces invalid bytes
    would turn two different ids into one.
    """
    for part in query.split(b'&'):
        key, _, value = part.partition(b'=')
        if key == name or (b'%' in key and decoded(key) == name):
            # Few values are encoded, and every request has some.
            return value if value.isalnum() else decoded(value.replace(b'+', b' '))
    return None


def times(query: bytes, name: bytes) -> int:
    """Return how many values a query parameter has."""
    return [decoded(part.partition(b'=')[0]) for part in query.split(b'&')].count(name)


def decoded(raw: bytes) -> bytes:
    """Decode percent-encoding."""
    # ``unquote_to_bytes`` is slow even if there is nothing to decode.
    return unquote_to_bytes(raw) if b'%' in raw else raw


def path_below(path: bytes, mount: bytes) -> bytes:
    """Return the part of a percent-encoded path after a mount's path and the slash.

    Args:
        path: a path as the client sent it. When it is decoded, it begins with the
            mount's path, and ends there or has a slash next.
        mount: such as ``/v1/stream``, decoded, and without a slash at its end.
    """
    size = len(mount)
    if path.startswith(mount) and path[size : size + 1] == b'/':
        return path[size + 1 :]
    # The client has percent-encoded the slash after the mount's path, or more of it.
    return b''.join(_ENCODED.findall(path)[size + 1 :])
