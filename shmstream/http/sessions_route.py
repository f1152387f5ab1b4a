"""``GET /_shmstream/sessions``: the streams of the caller's key, a page at a time.

::

    {"sessions": [{"conversation_id": ..., "state": ..., ...}, ...], "next": ID or null}

The streams are in the order of their ids. ``?after=ID`` begins after this id: ``next``
is what to send for the next page. ``?conv_id=ID`` asks for one stream. A key sees its
own streams and no others, so nobody can enumerate another's ids. Without keys all
clients are one owner. So there is no list then, and only ``?conv_id=ID`` is answered.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import falcon.asgi

from shmstream.serving.problems import JSON, Problem
from shmstream.streams import Streams

MAX_PAGE = 1000
"""Streams on a page, at most. A page of this size takes the supervisor some 10 ms."""


class SessionsResource:
    """Lists the streams of an owner.

    Args:
        streams: the deployment.
        keys: whether clients have keys.
    """

    def __init__(self, streams: Streams, keys: bool) -> None:
        self._streams = streams
        self._keys = keys

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Answer with one page."""
        most = _limit(req.get_param('limit'))
        conv_id, after = req.get_param('conv_id'), req.get_param('after') or ''
        if not (conv_id or self._keys):
            raise Problem(
                403,
                'Without SHMSTREAM_API_KEYS streams are not listed, because everybody'
                ' would see the ids of all; name one by conv_id',
            )
        resp.data = await asyncio.to_thread(
            self._page, req.context.owner, conv_id, after, most
        )
        resp.content_type = JSON
        resp.set_header('Cache-Control', 'no-store')

    def _page(self, owner: bytes, conv_id: str | None, after: str, most: int) -> bytes:
        # One more than the page has says whether there is another page.
        found = self._streams.list(
            owner=owner, conv_id=conv_id, after=after, most=most + 1
        )
        page = found[:most]
        more = page[-1]['conversation_id'] if len(found) > most else None
        # Each is encoded by itself, because the encoder lets no other thread run until
        # it is done.
        texts = ', '.join(map(_encoded, page))
        return f'{{"sessions": [{texts}], "next": {json.dumps(more)}}}'.encode()


def _encoded(session: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in session.items() if k != 'owner'})


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_PAGE
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= number <= MAX_PAGE:
        raise Problem(400, f'limit must be a whole number from 1 to {MAX_PAGE}')
    return number
