"""``POST /v1/streams/lookup``, as a Falcon resource."""

from __future__ import annotations

import falcon.asgi

from shmstream.http.replies import send
from shmstream.http.uploads import Uploads
from shmstream.serving.lookup import MAX_BYTES, look_up
from shmstream.streams import Streams


class LookupResource:
    """Tells a client which of its conversations have a stream."""

    def __init__(self, streams: Streams, uploads: Uploads) -> None:
        self._streams = streams
        self._uploads = uploads

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Describe the streams that are asked for; see ``serving.lookup.look_up``."""
        body = (await self._uploads.read(req, MAX_BYTES)).whole()
        reply = look_up(self._streams, body, req.context.owner)
        await send(reply, req, resp)
