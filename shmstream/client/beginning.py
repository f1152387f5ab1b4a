"""Makes the first request of a client from what the caller has said."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from typing import Any

from shmstream.chance import random_bits
from shmstream.client import address
from shmstream.client.limits import Limits
from shmstream.client.resumption import Post, Resumption
from shmstream.errors import LocalError
from shmstream.ids import validate_id
from shmstream.version import __version__

_ID = 'x-conversation-id'


def resumption(
    url: str,
    json: object,
    body: bytes | None,
    conversation_id: str | None,
    headers: Mapping[str, str] | None,
    offset: int,
    generation: str | None,
    limits: Limits,
) -> Resumption:
    """Return the stream that ``follow`` and ``astream`` are to read.

    Raises:
        LocalError: the arguments contradict each other, or cannot be sent.
    """
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    sent.setdefault('user-agent', f'shmstream/{__version__}')
    # Compression delays the events of some proxies, so it is not asked for.
    sent.setdefault('accept-encoding', 'identity')
    if offset < 0:
        raise LocalError(f'offset: must not be negative: {offset}')
    post: Post | None = None
    if json is not None or body is not None:
        if offset or generation is not None:
            raise LocalError('offset, generation: a POST begins a new stream')
        post = _post(json, body, conversation_id, sent)
    elif conversation_id is not None:
        raise LocalError('conversation_id: only for a POST; a GET has it in its url')
    return Resumption(
        address.checked(url),
        sent,
        post,
        offset=offset,
        generation=generation,
        patience_s=limits.patience_s,
        most=limits.event_bytes,
    )


def _post(
    json: Any, body: bytes | None, conv_id: str | None, headers: dict[str, str]
) -> Post:
    if body is None:
        body = json_module.dumps(json).encode()
        headers.setdefault('content-type', 'application/json')
    elif json is not None:
        raise LocalError('json, body: only one of them')
    conv_id = conv_id or headers.get(_ID)
    unique = conv_id is None
    if conv_id is None:
        # With an id that nobody else has, an answer can be found again even if it is
        # lost before its first byte.
        conv_id = f'{random_bits(128):032x}'
    validate_id(conv_id)
    headers[_ID] = conv_id
    return Post(body, conv_id, unique)
