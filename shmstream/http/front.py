"""The application's front: plain GETs of streams are answered without the framework.

Its request, routing, middleware and response are most of what we add to a small answer
(``python -m bench replay``). What is asked for most, a stream from an offset, needs few
of them as long as there are neither keys nor other origins. All else goes the long way
(``reading``), as does every error: nothing has been sent by then. A test holds both to
the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon.asgi

from shmstream.consumer import Consumer
from shmstream.errors import ShmstreamError
from shmstream.http import servers
from shmstream.http.body import Send, send_finished, send_live
from shmstream.http.reading import WHOLE, described
from shmstream.http.request import MAX_OFFSET, READER, Request
from shmstream.http.stalled import Reader, Readers
from shmstream.ring.state import State
from shmstream.streams import Streams

_PATH = b'/v1/stream/'
_QUERY = re.compile(rb'(?:from=([0-9]{1,19}))?')

_END = {'type': 'http.response.body', 'body': b'', 'more_body': False}


class Front(falcon.asgi.App[Request, falcon.asgi.Response]):
    """A Falcon application that answers the plainest requests by itself.

    Its bodies can reach the server's ``send`` (``request.send_of``).

    Args:
        readers: where the responses under way are kept.
        options: of a Falcon application.
    """

    shortcut: Shortcut | None = None
    """Answers them; None: nobody does."""

    def __init__(self, readers: Readers, **options: Any) -> None:
        super().__init__(request_type=Request, **options)
        self._readers = readers

    async def __call__(  # type: ignore[override]
        self, scope: Any, receive: Any, send: Any
    ) -> None:
        """Answer, by the shortcut if it can."""
        if scope['type'] != 'http':
            await super().__call__(scope, receive, send)
        elif servers.by_gunicorn(receive):
            await self._answer(scope, receive, send)
        else:
            await servers.answer(self._answer, scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        reader = self._readers.enter(send)
        try:
            if self.shortcut is not None:
                answering = self.shortcut.answering(scope, reader)
                if answering is not None:
                    await answering
                    return
            scope[READER] = reader
            await super().__call__(scope, receive, reader.send)
        finally:
            self._readers.leave(reader)


class Shortcut:
    """Answers ``GET /v1/stream/{id}`` with at most ``?from=``, if all is well.

    Args:
        streams: the deployment; everybody may read everything in it.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def answering(self, scope: Any, reader: Reader) -> Coroutine[Any, Any, None] | None:
        """Return what answers this request; None if that takes the long way."""
        if scope['method'] != 'GET':
            return None
        path: bytes = scope.get('raw_path') or b''
        if not path.startswith(_PATH):
            return None
        asked = _QUERY.fullmatch(scope.get('query_string', b''))
        if asked is None:
            return None
        offset = int(asked[1] or 0)
        try:
            conv_id = unquote_to_bytes(path[len(_PATH) :].partition(b'?')[0]).decode()
            consumer = self._streams.open(conv_id)
            if (
                consumer.state is State.PENDING
                or consumer.never_began
                or not consumer.dropped_prefix <= offset <= MAX_OFFSET
            ):
                return None
            if consumer.finished:
                views = consumer.views(offset)
                reader.source = consumer
                return self._send_finished(consumer, offset, views, reader.send)
        except (ShmstreamError, OSError, UnicodeDecodeError):
            return None
        if self._streams.leaving():
            return None
        reader.source = consumer
        return self._send_live(consumer, offset, reader.send)

    async def _send_live(self, consumer: Consumer, offset: int, send: Send) -> None:
        await send(_start(consumer, offset, []))
        with consumer.follow(offset, self._streams.leaving) as follower:
            await send_live(send, follower)
        await send(_END)

    async def _send_finished(
        self, consumer: Consumer, offset: int, views: list[memoryview], send: Send
    ) -> None:
        size = sum(map(len, views))
        start = _start(consumer, offset, [(b'content-length', b'%d' % size)])
        await send(start)
        if size <= WHOLE:
            body = b''.join(views)
            await send({'type': 'http.response.body', 'body': body, 'more_body': False})
        else:
            await send_finished(send, views, self._streams.leaving)
            await send(_END)


def _start(
    consumer: Consumer, offset: int, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    headers += [
        (name.encode(), value.encode('latin-1'))
        for name, value in described(consumer, offset).items()
    ]
    return {'type': 'http.response.start', 'status': 200, 'headers': headers}
