"""Does for other ASGI servers what gunicorn does for a response.

gunicorn's ASGI worker runs each request in a task of its own, and cancels the task when
the client leaves. The ASGI specification asks for neither. It turns a client's leaving
into a message, which an application gets only if it receives; and a server need not run
the application in a task (granian does not). So this module runs the application in a
task, and receives messages in a second task, the watcher, when the application does
not::

    the client leaves            the watcher receives http.disconnect, and cancels the
                                 application's task
    the server cancels the call  (at shutdown, or for a timeout of its own) the
                                 application's task is cancelled, too
    the application cancels      (to have the response cut) the server is made to cut
    itself                       the response

A GET or HEAD has no body, as a rule, and the application does not read the body if
there is one. The watcher drops that body from the moment the answer begins, because
``http.disconnect`` comes after it.

ASGI has no message that cuts a response, that is, closes the connection without the
closing chunk. Every server does so when the application fails with ``CancelledError``.
For uvicorn there is a way that logs no error (``_cut_quietly``).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from shmstream.asgi.stalled import Reader, Readers
from shmstream.deploy import gunicorn_insides

Receive = Callable[[], Awaitable[Any]]
AsgiApp = Callable[[Any, Receive, Any], Awaitable[None]]
Listen = Callable[[Callable[[], Awaitable[object]]], None]
Handler = Callable[[Any, Receive, Reader], Awaitable[None]]
"""An application that sends with ``Reader.send`` and sets ``Reader.source``."""

_TURNS = 100
"""Turns of the event loop in which uvicorn is to notice a closed connection. It takes
two, as a rule."""


class _Exchange:
    """One request and its response.

    Args:
        scope: the request's.
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
            CancelledError: the server has to cut the response, or has cancelled it.
            Whatever the application or the server's ``receive`` raises.
        """
        self._task = asyncio.ensure_future(
            application(scope, self.receive, self._sending())
        )
        if self._bodyless:
            self._watch()
        try:
            await asyncio.wait([self._task])
        finally:
            # The application's task is done by now, unless the server has cancelled
            # this call. The watcher may still wait.
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
        # The server's own ``send`` wherever possible, so that a delivery costs no more.
        return self.send if self._asks and not self._bodyless else self._send

    @property
    def transport(self) -> Any:
        """The transport behind ``send``, if shown; ``stalled.transport_of`` uses it."""
        return getattr(getattr(self._send, '__self__', None), 'transport', None)

    async def send(self, message: Any) -> None:
        """Send, for a GET or HEAD with a body, which the application may not read."""
        await self._send(message)
        if self._watcher is None and not self._read:
            self._watch()

    async def receive(self) -> Any:
        """Receive for the application."""
        if self._watcher is not None:
            if self._bodyless:
                # The watcher receives the server's message. An empty body is the same
                # for every request, so it can be given here.
                self._bodyless = False
                return {'type': 'http.request', 'body': b'', 'more_body': False}
            # The application can only wait for the client to leave.
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
            # This was an empty body, or a part of a body that nobody reads.
            pass
        self._left = True
        self._task.cancel()


def _listen_to_hypercorn(send: Any, listen: Listen) -> None:
    """Pass on hypercorn's event for its end, if this ``send`` is hypercorn's."""
    context = getattr(getattr(send, '__self__', None), 'context', None)
    terminated = getattr(context, 'terminated', None)
    if terminated is not None:
        listen(terminated.wait)


def _announces(headers: Any) -> bool:
    """Whether the headers announce a body."""
    return any(
        name == b'transfer-encoding'
        or (name == b'content-length' and bool(value.strip(b'0')))
        for name, value in headers
    )


def exchange(
    handler: Handler,
    readers: Readers,
    scope: Any,
    receive: Any,
    send: Any,
    listen: Listen | None = None,
) -> Awaitable[None]:
    """Have a request answered under any server, and watch its response.

    Args:
        handler: answers the request.
        readers: watches the responses under way.
        scope: the request's.
        receive: the server's.
        send: the server's.
        listen: is called with a function to await until the server stops, if the server
            offers one. It may be called again for each request.

    Raises:
        As ``_Exchange.run``.
    """
    if gunicorn_insides.is_its_own(receive):
        # Not a coroutine function: this is called for every request, and a coroutine
        # more would cost.
        return _attended(handler, readers, scope, receive, send)
    if listen is not None:
        _listen_to_hypercorn(send, listen)
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
    """Cut a response of uvicorn without an error in its log.

    uvicorn logs an error for a response that fails, unless its connection was lost
    before. So this closes the connection, and waits until uvicorn has noticed.

    Returns:
        False if the server is not uvicorn, or did not notice.
    """
    cycle: Any = getattr(send, '__self__', None)
    transport: Any = getattr(cycle, 'transport', None)
    # By the attributes, because uvloop's transports are not of asyncio's classes.
    if not (hasattr(cycle, 'disconnected') and hasattr(transport, 'abort')):
        return False
    if transport.get_write_buffer_size():
        # ``close`` would first wait until the client has read what is queued.
        transport.abort()
    else:
        transport.close()
    for _ in range(_TURNS):
        if cycle.disconnected:
            return True
        await asyncio.sleep(0)
    return False
