"""Does for other ASGI servers what gunicorn does for a response.

gunicorn's ASGI worker runs each request in a task of its own, and cancels the task when
the client leaves. The ASGI specification requires neither. There, a client that leaves
becomes a message, which an application gets only if it calls ``receive``. And a server
need not run the application in a task (granian does not). So this module runs the
application in a task. While the application does not receive, a second task, the
watcher, receives messages instead::

    the client leaves            the watcher receives http.disconnect, and cancels the
                                 application's task
    the server cancels the call  (at shutdown, or for a timeout of its own) the
                                 application's task is cancelled, too
    the application cancels      (to have the response cut) the server is made to cut
    itself                       the response

A GET or HEAD has no body, as a rule, and the application does not read the body if
there is one. From the moment the answer begins, the watcher drops that body, because
``http.disconnect`` comes after the body.

To cut a response is to close the connection without the closing chunk. ASGI has no
message for that, but every server cuts a response when the application fails with
``CancelledError``. Where there is a way that logs no error (``quiet_cut``), it is used.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from shmstream.asgi.quiet_cut import cut_quietly
from shmstream.asgi.servers_send import is_servers_own, servers_send
from shmstream.asgi.stalled import Reader, Readers
from shmstream.asgi.task_middleware import cancel_servers_task, servers_side
from shmstream.deploy import gunicorn_insides
from shmstream.deploy.lifespan import listen_to_hypercorn

Receive = Callable[[], Awaitable[Any]]
AsgiApp = Callable[[Any, Receive, Any], Awaitable[None]]
Listen = Callable[[Callable[[], Awaitable[object]]], None]
Handler = Callable[[Any, Receive, Reader], Awaitable[None]]
"""An application that sends with ``Reader.send`` and sets ``Reader.source``."""


class ResponseCut(ConnectionError):
    """A response had to be cut, where ``CancelledError`` would not cut it."""


class _Exchange:
    """One request and its response.

    Args:
        scope: the ASGI scope of the request.
        receive: the server's ``receive``.
        send: the server's ``send``.
        unread: whether the application reads no body of this request.
    """

    def __init__(self, scope: Any, receive: Receive, send: Any, unread: bool) -> None:
        self._receive = receive
        self._send = send
        self._asks = scope['method'] in ('GET', 'HEAD')
        self._bodyless = unread or (self._asks and not _announces(scope['headers']))
        self._read = False
        self._task: asyncio.Task[None]
        self._watcher: asyncio.Task[None] | None = None
        self._left = False

    async def run(self, application: AsgiApp, scope: Any) -> None:
        """Have the application answer.

        Raises:
            CancelledError: the server has to cut the response, or has cancelled it.
            ResponseCut: the server has to cut the response.
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
            tasks = (self._task, self._watcher)
            left = [task for task in tasks if task is not None and not task.done()]
            for task in left:
                task.cancel()
            if left:
                # A cancel scope of anyio cancels this wait again.
                await asyncio.wait(left)
        if self._watcher is not None and not self._watcher.cancelled():
            self._watcher.result()
        if not self._task.cancelled():
            self._task.result()
        elif not self._left:
            await cut(self._send, self._receive)

    def _sending(self) -> Any:
        # The application gets the server's own ``send`` wherever possible, so that a
        # delivery costs nothing extra.
        return self.send if self._asks and not self._bodyless else self._send

    @property
    def transport(self) -> Any:
        """The transport behind ``send``, if shown; ``stalled.transport_of`` uses it."""
        owner = getattr(servers_send(self._send), '__self__', None)
        return getattr(owner, 'transport', None)

    async def send(self, message: Any) -> None:
        """Send a message of the response to a GET or HEAD that has a body.

        If the application has not begun to read that body, the watcher drops it.
        """
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
            # The message was an empty body, or a part of a body that nobody reads.
            pass
        self._left = True
        self._task.cancel()


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
    *,
    unread: bool = False,
) -> Awaitable[None]:
    """Have a request answered under any server, and watch its response.

    Args:
        handler: answers the request.
        readers: watches the responses under way.
        scope: the ASGI scope of the request.
        receive: the server's ``receive``.
        send: the server's ``send``.
        listen: if the server offers a function that can be awaited until the server
            stops, ``listen`` is called with that function, for each request anew.
        unread: the handler reads no body: a framework has read it, or nobody will.

    Raises:
        As ``_Exchange.run``.
    """
    if gunicorn_insides.is_its_own(receive):
        # ``exchange`` is called for every request, so it is no coroutine function: one
        # more coroutine for each request would cost time.
        return _attended(handler, readers, scope, receive, send)
    if listen is not None:
        listen_to_hypercorn(servers_side(receive, send)[0], listen)
    application = functools.partial(_attended, handler, readers)
    return _Exchange(scope, receive, send, unread).run(application, scope)


async def _attended(
    handler: Handler, readers: Readers, scope: Any, receive: Any, send: Any
) -> None:
    reader = readers.enter(send)
    try:
        await handler(scope, receive, reader)
    finally:
        readers.leave(reader)


async def cut(send: Any, receive: Any) -> None:
    """Have the server cut a response: without an error in its log, if possible.

    Args:
        send: what the application has got as ``send``, or another method of the same
            object.
        receive: what the application has got as ``receive``.

    Raises:
        CancelledError: the server cuts the response if the application raises this.
        ResponseCut: the same, where a cancellation would be taken for a clean end.
    """
    if gunicorn_insides.is_its_own(receive):
        raise asyncio.CancelledError
    send, middleware = servers_side(receive, send)
    if await cut_quietly(send):
        return
    if middleware:
        await cancel_servers_task(middleware)
    if is_servers_own(receive):
        raise asyncio.CancelledError
    # Something unknown between the server and the application may run the application
    # in a task of its own, and would take its cancellation for the clean end of the
    # response.
    raise ResponseCut('a response was cut: its client has to resume')
