"""Responses of Django, and those that follow a stream under ASGI.

Django's handler iterates over a response in a task of its own, and passes the parts to
the server's ``send``. Three things are more than an iterator can do::

    to cut the response       Django takes ``CancelledError`` for a client that has
                              left, and returns in silence. Servers log an error for
                              that, and some send the closing chunk.
    to cut readers that take  ``asgi.stalled`` needs the connection
    nothing
    to be closed              Django calls ``close`` of a response, but not if its
                              iterator raises

So the response looks for the ``send`` in the frames of the handler, which calls
``aiter(response)`` in ``send_response(response, send)``. If it finds none (a handler of
somebody's own), the response is cut by ``ResponseCut``, which servers log with a
traceback, and a client that takes nothing is not cut.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    StreamingHttpResponse,
)

from shmstream.answers.django_request import is_asgi
from shmstream.answers.wsgi import WsgiAnswers
from shmstream.asgi.other_servers import ResponseCut
from shmstream.asgi.quiet_cut import cut_quietly
from shmstream.asgi.stalled import Readers
from shmstream.consumer import Consumer
from shmstream.errors import FollowCut, OffsetLost
from shmstream.serving.get_head_delete import METHODS
from shmstream.serving.reply import Cut, Ended, Following, Live, Reply

log = logging.getLogger('shmstream')

_ALLOWED = sorted({*METHODS, 'POST'})

_FRAMES = 8
"""Frames that are looked at, at most: those of handlers derived from Django's."""


def response_of(
    asked: HttpRequest, reply: Reply, readers: Readers, in_thread: WsgiAnswers
) -> HttpResponseBase:
    """Return a reply as a response.

    Args:
        asked: the request.
        reply: the reply.
        readers: the responses under way, under ASGI.
        in_thread: makes the bodies of responses under WSGI.
    """
    response: HttpResponseBase
    has_length = any(name == b'content-length' for name, _ in reply.headers)
    if isinstance(reply.body, bytes) and (asked.method != 'HEAD' or has_length):
        response = HttpResponse(reply.body, status=reply.status)
    else:
        # Django's GZipMiddleware does not heed ``no-transform``, and keeps events back,
        # but it leaves alone what the client did not ask for.
        asked.META.pop('HTTP_ACCEPT_ENCODING', None)
        if isinstance(reply.body, bytes):
            # Django's CommonMiddleware would say that the stream has 0 bytes.
            nothing = _nothing() if is_asgi(asked) else ()
            response = StreamingHttpResponse(nothing, status=reply.status)
        elif is_asgi(asked):
            response = FollowingResponse(reply.body, readers, reply.status)
        else:
            body = in_thread.body(reply, asked.environ)
            response = StreamingHttpResponse(body, status=reply.status)
    del response.headers['Content-Type']
    for name, value in reply.headers:
        response.headers[name.decode()] = value.decode('latin-1')
    return response


def other_method(asked: HttpRequest) -> HttpResponse:
    """Return the response to a method that a view does not have."""
    if asked.method == 'OPTIONS':
        return HttpResponse(headers={'Allow': ', '.join(_ALLOWED)})
    return HttpResponseNotAllowed(_ALLOWED)


class FollowingResponse(StreamingHttpResponse):  # type: ignore[misc]
    """A response that sends the rest of a stream, and is cut if it is not whole.

    Args:
        body: the rest of the stream.
        readers: the responses under way.
        status: HTTP status.
    """

    def __init__(self, body: Live | Ended | Cut, readers: Readers, status: int) -> None:
        self._readers = readers
        self._consumer: Consumer | None = None
        self._follower: Following | None = None
        first = b''
        if isinstance(body, Live):
            first, self._follower = body.first, body.follow()
        elif isinstance(body, Ended):
            self._follower = body.consumer.follow(body.offset, body.leave)
        else:
            first = body.data
        if not isinstance(body, Cut):
            self._consumer = body.consumer
        super().__init__(_parts(first, self._follower), status=status)

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._watched(_send_of(self))

    async def _watched(self, send: Any) -> AsyncGenerator[bytes, None]:
        reader = None if send is None else self._readers.enter(send)
        if reader is not None:
            reader.source = self._consumer
        try:
            async for part in super().__aiter__():
                yield part
        except OffsetLost as ex:
            log.info('reader overtaken by the ring: %s', ex)
            await self._cut(send)
        except FollowCut as ex:
            log.debug('%s', ex)
            await self._cut(send)
        finally:
            # Django closes what this method returns, and not what that iterates over.
            if self._follower is not None:
                self._follower.close()
            if reader is not None:
                self._readers.leave(reader)

    async def _cut(self, send: Any) -> None:
        """Have the response cut; return if its connection is closed already.

        Then the server drops what Django still sends, the end of the body as well.
        """
        if send is not None and await cut_quietly(send):
            return
        await sync_to_async(self.close)()
        raise ResponseCut('a response was cut: its client has to resume')


async def _nothing() -> AsyncIterator[bytes]:
    """The body of a response to a HEAD."""
    return
    yield b''


async def _parts(first: bytes, follower: Following | None) -> AsyncIterator[bytes]:
    """Yield the first bytes, and what a follower reads.

    A generator, because a follower can be iterated in a thread as well, and Django
    would take it for an iterator of that kind.
    """
    if first:
        yield first
    if follower is None:
        raise FollowCut(0, 'the client has to come back')
    async for part in follower:
        yield part
    if follower.untold_failure:
        raise FollowCut(follower.offset, follower.untold_failure)


def _send_of(response: FollowingResponse) -> Any:
    """Return the ``send`` of the handler that iterates over a response, or None."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES):
        names = frame.f_locals
        if names.get('response') is response and callable(names.get('send')):
            return names['send']
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
