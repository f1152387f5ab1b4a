"""What gunicorn does for a response, done for other ASGI servers.

gunicorn's ASGI worker runs each request in a task of its own, and cancels that when its
client leaves. The specification asks for neither: a client that leaves is a message to
whoever receives, and what runs the application need not be a task (granian's is none).
So the application runs in a task here, beside one that receives what nobody else does::

    the client leaves      http.disconnect is received        the task is cancelled
    the server cancels     shutdown, or a timeout of its own  so is the task
    the task is cancelled  from within: the response is cut   the server is told to cut

Who asks for something sends no body, as a rule, and if it does, nobody reads it: from
the moment the answer begins what comes of it is dropped, to see the client leave.

There is no message that cuts a response, that is, closes the connection without the
closing chunk. An application that fails with ``CancelledError`` makes every server do
so; those of which more is known make less noise about it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from shmstream import lifecycle
from shmstream.asgi.stalled import Reader, Readers
from shmstream.deploy import gunicorn_insides

Receive = Callable[[], Awaitable[Any]]
AsgiApp = Callable[[Any, Receive, Any], Awaitable[None]]
Handler = Callable[[Any, Receive, Reader], Awaitable[None]]
"""An application that sends with ``Reader.send``, and notes there what it reads."""

_TURNS = 100
"""Turns of the loop within which a closed connection is lost; two, as a rule."""


class _Exchange:
    """One request and its response.

    Args:
        scope: of the request.
        receive: the server's.
        send: the server's.
    """

    def __init__(self, scope: Any, receive: Receive, send: Any) -> None:
        self._receive = receive
        self._send = send
        self._asks = scope['method'] in ('GET', 'HEAD')
        self._bodyless = self._asks and not _announces(scope['headers'])
        self._read = False
        self._task: asyncio.Task[None]
        self._watcher: asyncio.Task[None] | None = None
        self._left = False

    async def run(self, application: AsgiApp, scope: Any) -> None:
        """Have the application answer.

        Raises:
            CancelledError: the server is to cut the response, or has cancelled it.
            Whatever the application raises, or the server's ``receive``.
        """
        _hear_hypercorn(self._send)
        self._task = asyncio.ensure_future(
            application(scope, self.receive, self._sending())
        )
        if self._bodyless:
            self._watch()
        try:
            await asyncio.wait([self._task])
        finally:
            # Either is done by now, unless the server has cancelled us.
            for task in (self._task, self._watcher):
                if task is not None and not task.done():
                    task.cancel()
                    await asyncio.wait([task])
        if self._watcher is not None and not self._watcher.cancelled():
            self._watcher.result()
        if not self._task.cancelled():
            self._task.result()
        elif not self._left and not await _cut_quietly(self._send):
            raise asyncio.CancelledError

    def _sending(self) -> Any:
        # The server's own wherever it can be: nothing is added to a delivery.
        return self.send if self._asks and not self._bodyless else self._send

    @property
    def transport(self) -> Any:
        """Where ``send`` leads to, if the server shows it: ``transport_of`` looks."""
        return getattr(getattr(self._send, '__self__', None), 'transport', None)

    async def send(self, message: Any) -> None:
        """Send for an application that has a body which it may not read."""
        await self._send(message)
        if self._watcher is None and not self._read:
            self._watch()

    async def receive(self) -> Any:
        """Receive for the application."""
        if self._watcher is not None:
            if self._bodyless:
                # The watcher has it, or will have: it is the same for all of them.
                self._bodyless = False
                return {'type': 'http.request', 'body': b'', 'more_body': False}
            # It has no more than the client's leaving to wait for.
            await asyncio.wait([self._watcher])
            return {'type': 'http.disconnect'}
        self._read = True
        event = await self._receive()
        if event['type'] == 'http.disconnect':
            self._left = True
        elif not event.get('more_body', False):
            self._watch()
        return event

    def _watch(self) -> None:
        self._watcher = asyncio.ensure_future(self._wait_until_left())

    async def _wait_until_left(self) -> None:
        while (await self._receive())['type'] != 'http.disconnect':
            # The empty body of a request without one, or a body that nobody reads.
            pass
        self._left = True
        self._task.cancel()


def _hear_hypercorn(send: Any) -> None:
    """Have what hypercorn says of its end be heard, if this ``send`` is of its own."""
    context = getattr(getattr(send, '__self__', None), 'context', None)
    terminated = getattr(context, 'terminated', None)
    if terminated is not None:
        lifecycle.current.hear_word(terminated.wait)


def _announces(headers: Any) -> bool:
    """Whether a body is to come."""
    return any(
        name == b'transfer-encoding'
        or (name == b'content-length' and bool(value.strip(b'0')))
        for name, value in headers
    )


def exchange(
    handler: Handler, readers: Readers, scope: Any, receive: Any, send: Any
) -> Awaitable[None]:
    """Have a request answered, whatever the server, and look how that is going.

    Args:
        handler: answers it.
        readers: where the responses under way are kept.
        scope: of the request.
        receive: the server's.
        send: the server's.

    Raises:
        As ``_Exchange.run``.
    """
    if gunicorn_insides.is_its_own(receive):
        # No coroutine of its own: this is called for every request.
        return _attended(handler, readers, scope, receive, send)
    application = functools.partial(_attended, handler, readers)
    return _Exchange(scope, receive, send).run(application, scope)


async def _attended(
    handler: Handler, readers: Readers, scope: Any, receive: Any, send: Any
) -> None:
    reader = readers.enter(send)
    try:
        await handler(scope, receive, reader)
    finally:
        readers.leave(reader)


async def _cut_quietly(send: Any) -> bool:
    """Close a connection of uvicorn's, which would log an error; False if it is none.

    It says nothing about a response whose client has gone first.
    """
    cycle: Any = getattr(send, '__self__', None)
    transport: Any = getattr(cycle, 'transport', None)
    # uvloop's transports are none of asyncio's.
    if not (hasattr(cycle, 'disconnected') and hasattr(transport, 'abort')):
        return False
    if transport.get_write_buffer_size():
        # The client reads nothing: it would keep the connection for as long.
        transport.abort()
    else:
        transport.close()
    # Within the loop's next turns it learns that the connection is lost.
    for _ in range(_TURNS):
        if cycle.disconnected:
            return True
        await asyncio.sleep(0)
    return False
