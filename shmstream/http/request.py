"""What a request asks for. Everything a client sends is checked here."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon.asgi

from shmstream.consumer import Consumer
from shmstream.http.errors import Problem

STREAM_PATH = b'/v1/stream'
CONVERSATION_HEADER = 'X-Conversation-Id'

READER = 'shmstream.reader'
"""Where a scope keeps the ``Reader``, whose ``send`` is the server's."""

_DECIMAL = re.compile(rb'[0-9]{1,19}')
_GENERATION = re.compile(rb'[0-9a-f]{16}')

MAX_OFFSET = (1 << 63) - 1


class Request(falcon.asgi.Request):
    """A request that knows whether its client left before its body had come.

    Falcon's body stream just ends then: half a chunked body would pass for a whole one.
    """

    def __init__(self, scope: Any, receive: Any, *args: Any, **options: Any) -> None:
        self.gone = False

        async def noted() -> Any:
            event = await receive()
            if event['type'] == 'http.disconnect':
                self.gone = True
            return event

        super().__init__(scope, noted, *args, **options)


def send_of(req: falcon.asgi.Request) -> Any:
    """Return the server's ``send``."""
    return req.scope[READER].send


def reads(req: falcon.asgi.Request, source: Consumer) -> None:
    """Note the stream that the response reads from: see ``stalled``."""
    req.scope[READER].source = source


def check_target(req: falcon.asgi.Request) -> None:
    """Refuse a request target that is not a path.

    What does not begin with a slash could be put together with the upstream's address
    into another host's.

    Raises:
        Problem: 400.
    """
    if not raw_path(req).startswith(b'/'):
        raise Problem(400, 'The request target must begin with /')


def raw_path(req: falcon.asgi.Request) -> bytes:
    """Return the path as the client sent it, percent-encoded."""
    path: bytes = req.scope.get('raw_path') or req.path.encode('utf-8')
    return path.partition(b'?')[0]


def query(req: falcon.asgi.Request, name: bytes) -> bytes | None:
    """Return the first value of a query parameter, decoded to bytes; None without it.

    Falcon's own decoding replaces what is not UTF-8, which would make two ids one.
    """
    raw: bytes = req.scope.get('query_string', b'')
    if not raw:
        return None
    for part in raw.split(b'&'):
        key, _, value = part.partition(b'=')
        if unquote_to_bytes(key) == name:
            return unquote_to_bytes(value.replace(b'+', b' '))
    return None


def conversation_id(req: falcon.asgi.Request) -> str:
    """Return the id from the rest of the path, or from ``?conv_id=``.

    Raises:
        Problem: 400, there is none, or it is not UTF-8.
    """
    rest = raw_path(req).removeprefix(STREAM_PATH).removeprefix(b'/')
    raw = unquote_to_bytes(rest) or query(req, b'conv_id')
    if not raw:
        raise Problem(400, 'Missing conversation id in path')
    try:
        return raw.decode('utf-8')
    except UnicodeDecodeError:
        raise Problem(400, 'conversation id is not valid UTF-8') from None


def offset(req: falcon.asgi.Request) -> int:
    """Return ``from``, 0 without it.

    Raises:
        Problem: 400, it is not a plain decimal number below 2^63.
    """
    raw = query(req, b'from')
    if raw is None:
        return 0
    if not _DECIMAL.fullmatch(raw) or int(raw) > MAX_OFFSET:
        raise Problem(400, "Invalid 'from' offset")
    return int(raw)


def generation(req: falcon.asgi.Request) -> str | None:
    """Return ``generation``, None without it.

    Raises:
        Problem: 400, it is not a generation.
    """
    raw = query(req, b'generation')
    if raw is None:
        return None
    if not _GENERATION.fullmatch(raw):
        raise Problem(400, "Invalid 'generation': 16 hexadecimal digits")
    return raw.decode()


def conversation_header(req: falcon.asgi.Request) -> str | None:
    """Return the id from ``X-Conversation-Id``; None without it or when it is empty.

    Raises:
        Problem: 400, it is not UTF-8.
    """
    value = req.get_header(CONVERSATION_HEADER)
    # Not strip(): in latin-1, where we are here, A0 and 85 are white space, too.
    value = value.strip(' \t') if value is not None else ''
    if not value:
        return None
    try:
        # ASGI servers hand header bytes on as latin-1.
        return value.encode('latin-1').decode('utf-8')
    except UnicodeError:
        raise Problem(400, f'{CONVERSATION_HEADER} is not valid UTF-8') from None
