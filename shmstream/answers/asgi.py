"""``Answers`` for frameworks under ASGI: what does not depend on the framework."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from shmstream.answers.beginning import Beginning, begun, of_environment, refused
from shmstream.asgi.answering import Answering, settled
from shmstream.asgi.iterated import IteratedBody
from shmstream.asgi.other_servers import Handler, exchange
from shmstream.asgi.stalled import Readers
from shmstream.asgi.writer import write
from shmstream.deploy import worker_life
from shmstream.deploy.lifespan import drained
from shmstream.errors import ShmstreamError
from shmstream.ids import NOBODY
from shmstream.producing.running import here
from shmstream.producing.sources import close_async
from shmstream.serving.get_head_delete import Core, failed, suited
from shmstream.serving.lookup import MAX_BYTES, look_up
from shmstream.serving.permit import Grant, Verdict, apply
from shmstream.serving.problems import Problem
from shmstream.serving.reply import Reply
from shmstream.serving.request import Header, Request
from shmstream.settings import send_timeout
from shmstream.streams import Streams

log = logging.getLogger('shmstream')


class AsgiAnswers:
    """Begins answers, and answers the requests for them.

    Args:
        streams: the deployment; None: that of the environment.
        permit: returns what the client of a framework's request may do; None:
            everybody may read and stop every stream.
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading a stream that is gone; None: ``$SHMSTREAM_SEND_TIMEOUT``.

    Attributes:
        streams: the deployment.

    Raises:
        SettingsError: a setting of the environment cannot be used.
    """

    def __init__(
        self,
        streams: Streams | None,
        permit: Callable[[Any], Verdict | Awaitable[Verdict]] | None,
        timeout_s: float | None,
    ) -> None:
        self.streams = of_environment() if streams is None else streams
        self._permit = permit
        self._core = Core(self.streams)
        self._answering = Answering(self._core)
        self._readers = Readers(send_timeout() if timeout_s is None else timeout_s)

    async def verdict(self, asked: Any) -> Verdict:
        """Return what the client may do.

        Args:
            asked: the framework's request.

        Raises:
            Whatever ``permit`` raises.
        """
        if self._permit is None:
            return NOBODY
        verdict = self._permit(asked)
        return verdict if isinstance(verdict, (bytes, Grant, Reply)) else await verdict

    async def send(
        self,
        reply: Reply,
        scope: Any,
        receive: Any,
        send: Any,
        headers: list[Header],
    ) -> None:
        """Send a reply.

        Args:
            reply: the reply.
            scope: the ASGI scope of the request.
            receive: the framework's ``receive``.
            send: the framework's ``send``.
            headers: more headers.

        Raises:
            CancelledError: the server has to cut the response, or has cancelled it.
            ResponseCut: the server has to cut the response.
            Whatever ``send`` raises.
        """

        def handler(_scope: Any, _receive: Any, reader: Any) -> Awaitable[None]:
            return write(reply, reader, headers)

        await self._exchange(handler, scope, receive, send)

    async def read_or_stop(
        self, request: Request, asked: Any, scope: Any, receive: Any, send: Any
    ) -> None:
        """Answer a GET, HEAD or DELETE.

        Args:
            request: the request.
            asked: the framework's request.
            scope: the ASGI scope.
            receive: the framework's ``receive``.
            send: the framework's ``send``.

        Raises:
            As ``send``; and whatever ``permit`` raises.
        """
        refusal = apply(await self.verdict(asked), request)
        if refusal is not None:
            reply = suited(request, refusal)
            await self.send(reply, scope, receive, send, [])
            return

        def handler(_scope: Any, _receive: Any, reader: Any) -> Awaitable[None]:
            return self._answering.answer(request, reader)

        await self._exchange(handler, scope, receive, send)

    async def reply(self, request: Request, asked: Any) -> Reply:
        """Return the reply to a GET, HEAD or DELETE, for frameworks without a ``send``.

        Args:
            request: the request.
            asked: the framework's request.

        Raises:
            Whatever ``permit`` raises.
        """
        refusal = apply(await self.verdict(asked), request)
        if refusal is not None:
            return suited(request, refusal)
        reply = self._core.answer(request)
        return reply if isinstance(reply, Reply) else await settled(reply)

    def iterated(self, reply: Reply, receive: Any, watched: bool) -> IteratedBody:
        """Return the body of a reply, which is a stream, as an async iterator.

        Args:
            reply: the reply.
            receive: the framework's ``receive``; None if it is not known.
            watched: whether ``receive`` tells when the client leaves, and only then.
        """
        body = reply.body
        assert not isinstance(body, bytes)
        return IteratedBody(body, reply.source, receive, self._readers, watched)

    def _exchange(
        self, handler: Handler, scope: Any, receive: Any, send: Any
    ) -> Awaitable[None]:
        listen = worker_life.current.hear_word
        return exchange(
            handler, self._readers, scope, receive, send, listen, unread=True
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """A lifespan: find the supervisor at the start, drain the process at the end.

        Under gunicorn with shmstream's hooks the hooks do the same.
        """
        async with drained():
            try:
                await asyncio.to_thread(self.streams.connect)
            except (ShmstreamError, OSError) as ex:
                # Each request tries again.
                log.error('%s', ex)
            yield

    async def begin(
        self, beginning: Beginning, request: Request, asked: Any, mount: str | None
    ) -> Reply:
        """Begin an answer, and return the reply that sends it.

        The answer goes on to its end, even if this call is cancelled, unless ``permit``
        has not said yet that it may begin: then the source is closed.

        Args:
            beginning: the answer.
            request: the request that asks for it.
            asked: the framework's request.
            mount: the path under which the client finds streams; None: nobody knows it.

        Raises:
            Whatever ``permit`` raises.
        """
        try:
            refusal = refused(await self.verdict(asked), request)
        except BaseException:
            await close_async(beginning.source)
            raise
        if refusal is not None:
            await close_async(beginning.source)
            return refusal
        if here.drain is None:
            _warn_once()
        try:
            started = await self.streams.start(
                beginning.conv_id,
                beginning.source,
                format=beginning.format,
                capacity=beginning.capacity,
                owner=request.owner,
            )
        except Exception as ex:
            return failed(request, ex)
        return begun(started, mount)

    async def look_up(
        self, body: Callable[[], Awaitable[bytes]], request: Request, asked: Any
    ) -> Reply:
        """Return the reply to a look-up.

        Args:
            body: reads the body, of which ``MAX_BYTES`` may be needed, and one more.
            request: the request.
            asked: the framework's request.

        Raises:
            Whatever ``permit`` or ``body`` raises.
        """
        refusal = refused(await self.verdict(asked), request)
        if refusal is not None:
            return refusal
        text = await body()
        if len(text) > MAX_BYTES:
            return Problem(413, f'The body has more than {MAX_BYTES} bytes').reply()
        later = await asyncio.to_thread(look_up, self.streams, text, request.owner)
        return later if isinstance(later, Reply) else await settled(later)

    async def stop_chat(
        self, body: Callable[[], Awaitable[bytes]], request: Request, asked: Any
    ) -> Reply:
        """Return the reply to a POST by which the page of a chat stops its stream.

        Args:
            body: reads the body, of which ``MAX_STOP_BYTES`` may be needed, and one
                more. A ``Problem`` that it raises is the reply.
            request: the request.
            asked: the framework's request.

        Raises:
            Whatever else ``permit`` or ``body`` raises.
        """
        refusal = refused(await self.verdict(asked), request)
        if refusal is not None:
            return refusal
        try:
            text = await body()
        except Problem as ex:
            return ex.reply()
        return await settled(self._core.stop_chat(request, text))


@functools.cache
def _warn_once() -> None:
    log.warning(
        'answers end with this process: no lifespan of these routes has begun. Give the'
        ' outermost application the lifespan of the Answers'
    )
