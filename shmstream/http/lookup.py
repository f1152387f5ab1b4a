"""Looking up: which of a client's conversations have a stream."""

from __future__ import annotations

import asyncio
import json

import falcon.asgi

from shmstream.errors import InvalidConversationId
from shmstream.http.errors import JSON, Problem
from shmstream.http.uploads import Uploads
from shmstream.ids import validate_id
from shmstream.streams import Streams

MAX_IDS = 10_000
MAX_BYTES = 1 << 20


class LookupResource:
    """``POST /v1/streams/lookup``. There is no listing: ids cannot be enumerated."""

    def __init__(self, streams: Streams, uploads: Uploads) -> None:
        self._streams = streams
        self._uploads = uploads

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Describe each session whose id is asked for, or begins with it and ``::``."""
        ids = _ids((await self._uploads.read(req, MAX_BYTES)).whole())
        found = b'[]'
        if ids:
            found = await asyncio.to_thread(self._found, ids, req.context.owner)
        resp.content_type = JSON
        resp.set_header('Cache-Control', 'no-store')
        resp.data = found

    def _found(self, ids: list[str], owner: bytes) -> bytes:
        # One by one: an encoder keeps every other thread out until it is through.
        described = map(json.dumps, self._streams.lookup(ids, owner=owner))
        return f'[{", ".join(described)}]'.encode()


def _ids(raw: bytes) -> list[str]:
    try:
        asked = json.loads(raw)
    except (ValueError, RecursionError) as ex:
        raise Problem(400, f'invalid body: {ex}') from None
    if not isinstance(asked, dict):
        raise Problem(400, 'invalid body: not a JSON object')
    ids = asked.get('conversation_ids', [])
    if not isinstance(ids, list):
        raise Problem(400, 'invalid body: conversation_ids must be a list')
    if len(ids) > MAX_IDS:
        raise Problem(413, f'{len(ids)} ids, at most {MAX_IDS} are allowed')
    # Each of them once: what is asked again is found already.
    return list(dict.fromkeys(conv_id for conv_id in ids if _usable(conv_id)))


def _usable(conv_id: object) -> bool:
    """Whether any session could have this id."""
    if not isinstance(conv_id, str):
        return False
    try:
        validate_id(conv_id)
    except InvalidConversationId:
        return False
    return True
