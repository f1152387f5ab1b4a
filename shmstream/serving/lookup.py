"""Looking up which of a client's conversations have a stream.

A client has to name the ids. A list is there for API keys only, and has the streams of
the key (``http.sessions_route``), so that nobody can enumerate the ids of others.
"""

from __future__ import annotations

import json

from shmstream.errors import InvalidConversationId
from shmstream.ids import validate_id
from shmstream.serving.deployment import Deployment
from shmstream.serving.problems import JSON, Problem, problem_of
from shmstream.serving.reply import Blocking, Reply

MAX_IDS = 10_000
MAX_BYTES = 1 << 20
"""The largest body of a request."""


def look_up(streams: Deployment, body: bytes, owner: bytes) -> Reply | Blocking:
    """Describe each stream whose id is asked for, or begins with such an id and ``::``.

    Args:
        streams: the deployment.
        body: the whole body of the request.
        owner: only this owner's streams are described.
    """
    try:
        ids = asked_ids(body)
    except Problem as ex:
        return ex.reply()
    if not ids:
        return _found(b'[]')

    def ask() -> Reply:
        try:
            # Each description is encoded by itself, because the encoder lets no other
            # thread run until it is done.
            described = map(json.dumps, streams.lookup(ids, owner=owner))
            return _found(f'[{", ".join(described)}]'.encode())
        except Exception as ex:
            return problem_of(ex, 'a look-up').reply()

    return Blocking(ask)


def _found(body: bytes) -> Reply:
    headers = [
        (b'content-type', JSON.encode()),
        (b'cache-control', b'no-store'),
        (b'content-length', b'%d' % len(body)),
    ]
    return Reply(200, headers, body)


def asked_ids(body: bytes) -> list[str]:
    """Return the ids that a body asks for, each once.

    Raises:
        Problem: 400, the body is not an object with a list ``conversation_ids``; 413,
            it has too many ids.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as ex:
        raise Problem(400, f'invalid body: {ex}') from None
    if not isinstance(asked, dict):
        raise Problem(400, 'invalid body: not a JSON object')
    ids = asked.get('conversation_ids', [])
    if not isinstance(ids, list):
        raise Problem(400, 'invalid body: conversation_ids must be a list')
    if len(ids) > MAX_IDS:
        raise Problem(413, f'{len(ids)} ids, at most {MAX_IDS} are allowed')
    return list(dict.fromkeys(conv_id for conv_id in ids if _usable(conv_id)))


def _usable(conv_id: object) -> bool:
    """Whether any stream could have this id."""
    if not isinstance(conv_id, str):
        return False
    try:
        validate_id(conv_id)
    except InvalidConversationId:
        return False
    return True
