"""Takes a request for a stream, asks the serving core, and sends the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shmstream.asgi.stalled import Reader
from shmstream.asgi.writer import write
from shmstream.serving.get_head_delete import Core, failed, suited
from shmstream.serving.permit import Grant, Verdict, apply
from shmstream.serving.reply import Blocking, Later, Reply
from shmstream.serving.request import Header, Request

Permit = Callable[[Request], Verdict | Awaitable[Verdict]]
"""As ``serving.permit.Permit``, but it may be a coroutine function as well."""


class Answering:
    """Has the core answer requests, waits where it says so, and sends its replies.

    Args:
        core: decides what to answer.
        permit: decides who may read and stop which streams; None: everybody may read
            and stop the streams that have been made without an owner.
        more_headers: returns headers that are added to those of a reply.
    """

    def __init__(
        self,
        core: Core,
        permit: Permit | None = None,
        more_headers: Callable[[Request], list[Header]] | None = None,
    ) -> None:
        self._core = core
        self._permit = permit
        self._more_headers = more_headers

    async def answer(self, request: Request, reader: Reader) -> None:
        """Answer a request.

        Args:
            request: the request.
            reader: the response under way.

        Raises:
            CancelledError: the server has to cut the response.
            Whatever the server's ``send`` raises.
        """
        reply: Reply | Later | None = None
        if self._permit is not None:
            reply = await self._refusal(self._permit, request)
        if reply is None:
            reply = self._core.answer(request)
        if not isinstance(reply, Reply):
            reply = await settled(reply)
        await self._write(request, reply, reader)

    async def stop_chat(
        self, request: Request, body: Callable[[], Awaitable[bytes]], reader: Reader
    ) -> None:
        """Answer a POST by which the page of a chat stops its stream.

        Args:
            request: the request.
            body: reads its body.
            reader: the response under way.

        Raises:
            CancelledError: the server has cancelled the request.
            Whatever the server's ``send`` raises.
        """
        reply = None
        if self._permit is not None:
            reply = await self._refusal(self._permit, request)
        if reply is None:
            try:
                reply = await settled(self._core.stop_chat(request, await body()))
            except Exception as ex:
                reply = failed(request, ex)
        await self._write(request, reply, reader)

    async def _refusal(self, permit: Permit, request: Request) -> Reply | None:
        """Return why the client may not have what it asks for; None if it may."""
        try:
            verdict = permit(request)
            if not isinstance(verdict, (bytes, Grant, Reply)):
                verdict = await verdict
            refusal = apply(verdict, request)
        except Exception as ex:
            return failed(request, ex)
        return None if refusal is None else suited(request, refusal)

    async def _write(self, request: Request, reply: Reply, reader: Reader) -> None:
        more = [] if self._more_headers is None else self._more_headers(request)
        await write(reply, reader, more)


async def settled(later: Later) -> Reply:
    """Wait for what the reply depends on, and return the reply."""
    if isinstance(later, Blocking):
        return await asyncio.to_thread(later.work)
    try:
        await later.consumer.started(later.wait_s)
    except Exception as ex:
        return later.go_on(ex)
    return later.go_on(None)
