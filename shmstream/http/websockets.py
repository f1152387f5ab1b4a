"""WebSockets, relayed between the client and the upstream. They have no session.

::

    client               the relay                            upstream
    handshake      ->    checks the key                 ->    handshake
    101, or 403    <-                                   <-    101, or another status
    messages       <->   one at a time, either way      <->   messages
    close          ->    the same code                  ->    close
    close          <-    the same code                  <-    close
    close          <-    1012, if the worker leaves     ->    close

A side that takes nothing while a message waits for it is cut after the send timeout.
Under gunicorn each refused handshake gets 403; servers with the ASGI extension
``websocket.http.response`` send the real status. The log has one line with the reason.

``http.gate`` has decided before whether the page may open a WebSocket.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from shmstream.asgi.stalled import Readers
from shmstream.asgi.targets import query_of
from shmstream.http.api_keys import ApiKeys
from shmstream.http.forwarded import forwarded
from shmstream.http.prefix import prefix_of
from shmstream.serving.problems import Problem
from shmstream.serving.request import Request
from shmstream.upstream.hops import end_to_end
from shmstream.upstream.source import (
    Closed,
    Headers,
    OpenSocket,
    Source,
    TargetRefused,
    UpstreamRefused,
    UpstreamRequest,
    UpstreamTimeout,
    UpstreamUnreachable,
)

log = logging.getLogger('shmstream.http')

MAX_MESSAGE = 16 << 20
"""Bytes of a message, at most. gunicorn has the same limit for messages of clients."""

_CLOSE_S = 2.0
_LEAVING = Closed(1012, 'this worker is leaving')
_NOT_ACCEPTED = frozenset({'connection', 'content-length', 'date', 'server', 'upgrade'})
_DENIAL = 'websocket.http.response'
_CLIENT_GONE, _NO_STATUS = 1006, 1005


class WebSockets:
    """An ASGI application for WebSockets.

    Args:
        source: opens WebSockets of the upstream.
        keys: decide who owns a request.
        readers: watches the responses under way.
        send_s: seconds for which a side may take nothing while a message waits.
        own_headers: names of headers that are not passed on.
    """

    def __init__(
        self,
        source: Source,
        keys: ApiKeys,
        readers: Readers,
        send_s: float,
        own_headers: frozenset[str],
    ) -> None:
        self._source = source
        self._keys = keys
        self._readers = readers
        self._send_s = send_s
        self._own_headers = own_headers
        self._open: dict[asyncio.Task[Any], asyncio.Event] = {}
        self._leaving = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Relay one WebSocket to its end."""
        event = await receive()
        if event['type'] != 'websocket.connect':
            return
        try:
            self._permit(scope)
            socket = await self._connect(scope)
        except Problem as ex:
            await refuse(ex, scope, send)
            return
        leave = asyncio.Event()
        if self._leaving:
            # The handshake has ended after ``let_go``.
            leave.set()
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = leave
        reader = self._readers.enter(send)
        try:
            headers = [
                (name.lower().encode('latin-1'), value.encode('latin-1'))
                for name, value in socket.headers
                if name.lower() not in _NOT_ACCEPTED
                and not name.lower().startswith('sec-websocket-')
            ]
            accept = {'subprotocol': socket.protocol, 'headers': headers}
            await send({'type': 'websocket.accept'} | accept)
            await self._relay(socket, receive, reader.send, leave)
        finally:
            socket.drop()
            self._readers.leave(reader)
            del self._open[task]

    def let_go(self) -> None:
        """Begin to close all WebSockets, because the worker leaves. Idempotent.

        A WebSocket whose handshake is under way is closed when it is open.
        """
        self._leaving = True
        for event in self._open.values():
            event.set()

    async def leave(self) -> None:
        """Close all WebSockets, and wait for that a few seconds."""
        self.let_go()
        if self._open:
            await asyncio.wait(list(self._open), timeout=2 * _CLOSE_S)

    def _permit(self, scope: Any) -> None:
        request = Request(
            'GET', scope.get('raw_path') or b'/', headers=scope['headers']
        )
        self._keys.owner(request)

    async def _connect(self, scope: Any) -> OpenSocket:
        raw_path: bytes = (scope.get('raw_path') or b'').partition(b'?')[0]
        if not raw_path.startswith(b'/'):
            raise Problem(400, 'The request target must begin with /')
        headers: Headers = [
            (name.decode('latin-1').lower(), value.decode('latin-1'))
            for name, value in self._keys.without_keys(scope['headers'])
        ]
        headers = [(n, v) for n, v in end_to_end(headers) if n not in self._own_headers]
        asked = UpstreamRequest(
            'GET',
            (raw_path + query_of(scope)).decode('latin-1'),
            forwarded(scope, headers),
            None,
            prefix_of(scope),
        )
        protocols = list(scope.get('subprotocols') or ())
        try:
            return await self._source.web_socket(asked, protocols, MAX_MESSAGE)
        except TargetRefused as ex:
            raise Problem(400, str(ex)) from None
        except UpstreamRefused as ex:
            raise Problem(ex.status, str(ex)) from None
        except UpstreamTimeout as ex:
            raise Problem(504, str(ex)) from None
        except UpstreamUnreachable as ex:
            raise Problem(502, str(ex)) from None

    async def _relay(
        self, socket: OpenSocket, receive: Any, send: Any, leave: asyncio.Event
    ) -> None:
        to_upstream = asyncio.ensure_future(self._to_upstream(socket, receive))
        to_client = asyncio.ensure_future(self._to_client(socket, send))
        leaving = asyncio.ensure_future(leave.wait())
        tasks = (to_upstream, to_client, leaving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            left = to_upstream.result() if to_upstream.done() else None
            closed = to_client.result() if to_client.done() else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if left is None:
            # The upstream has closed, or the worker leaves.
            shown = _shown(closed or _LEAVING)
            message = {'code': shown.code, 'reason': shown.reason}
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await send({'type': 'websocket.close'} | message)
            except (OSError, TimeoutError) as ex:
                log.debug('a client does not hear of the end: %s', ex)
        told = _shown(left or closed or _LEAVING)
        await socket.close(told.code, told.reason, _CLOSE_S)

    async def _to_upstream(self, socket: OpenSocket, receive: Any) -> Closed:
        """Relay the client's messages; return how the client closed."""
        while True:
            event = await receive()
            if event['type'] == 'websocket.disconnect':
                code = event.get('code') or _NO_STATUS
                return Closed(code, event.get('reason') or '')
            text = event.get('text')
            try:
                async with asyncio.timeout(self._send_s):
                    await socket.send(event['bytes'] if text is None else text)
            except (OSError, TimeoutError) as ex:
                log.info('a WebSocket: the upstream takes nothing: %s', ex)
                # ``_to_client`` sees the end, and tells the client.
                socket.drop()
                await asyncio.sleep(_CLOSE_S)
                return Closed(1011, 'the upstream takes nothing')

    async def _to_client(self, socket: OpenSocket, send: Any) -> Closed | None:
        """Relay the upstream's messages; return how the upstream closed."""
        while True:
            message = await socket.receive()
            if isinstance(message, Closed):
                return message
            kind = 'text' if isinstance(message, str) else 'bytes'
            try:
                async with asyncio.timeout(self._send_s):
                    await send({'type': 'websocket.send', kind: message})
            except (OSError, TimeoutError) as ex:
                return Closed(_CLIENT_GONE, str(ex))


def _shown(closed: Closed) -> Closed:
    """Return what a close frame may say: some codes must not be sent in one."""
    if closed.code == _NO_STATUS:
        return Closed(1000, closed.reason)
    if 1000 <= closed.code <= 1014 and closed.code not in (1004, _CLIENT_GONE):
        return closed
    return (
        closed if 3000 <= closed.code <= 4999 else Closed(1011, 'the other end broke')
    )


async def refuse(why: Problem, scope: Any, send: Any) -> None:
    """Refuse a handshake that has been received, and log why.

    The client gets the problem's status if the server can send one.
    """
    status, message = why.status, str(why)
    log.info('a WebSocket is refused: %s', message)
    if _DENIAL not in (scope.get('extensions') or {}):
        await send({'type': 'websocket.close', 'code': 1008, 'reason': message[:100]})
        return
    error = {'code': status, 'message': message, 'type': 'invalid_request_error'}
    body = json.dumps({'error': error}).encode()
    headers = [
        (b'content-type', b'application/json; charset=utf-8'),
        (b'content-length', b'%d' % len(body)),
    ]
    start = {'type': f'{_DENIAL}.start', 'status': status, 'headers': headers}
    await send(start)
    await send({'type': f'{_DENIAL}.body', 'body': body, 'more_body': False})
