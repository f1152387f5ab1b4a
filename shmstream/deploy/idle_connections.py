"""Closes the idle connections of an ASGI worker that leaves.

An idle connection waits for its next request. The service keeps idle connections for
longer than load balancers do, because a balancer gets an error if it sends a request on
a connection that the service is just closing. But when a worker of gunicorn 27 is told
to leave, it waits for idle connections as it waits for busy ones, for
``graceful_timeout`` at the most, and a reload waits for this worker. So a worker that
leaves closes its idle connections, as nginx does::

    a connection                                     what the leaving worker does
    -----------------------------------------------  -----------------------------------
    has had a request, and waits for the next one    closes it at the second look
    has not had any request yet                      closes it after a second
    has received half of the head of a request       waits for the rest, for five
                                                     seconds at the most
    is busy                                          leaves it to gunicorn, which closes
                                                     it after the response

A connection is closed at the second look and not at the first, because the kernel may
already have bytes of a request that gunicorn has not read yet. gunicorn does not say
whether half of a head has arrived. But it gives all bytes to its parser in one method,
also those that came together with the request before. If the parser then has no
request, half of one is there.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

LOOK_S = 0.2
_FIRST_REQUEST_S = 1.0
_HALF_A_REQUEST_S = 5.0
_USES = (
    *('_awaiting_request', '_finishing_calls', '_keepalive_timeout', 'req_count'),
    *('_feed_callback_parser', '_request_ready'),
)
_METHODS = ('connection_made', '_feed_callback_parser')

_connections: weakref.WeakSet[Any] = weakref.WeakSet()


def known(protocol: Any, used: set[str]) -> bool:
    """Whether the protocol has all that this module uses.

    Args:
        protocol: gunicorn's ``ASGIProtocol``.
        used: the names that the protocol's methods use.
    """
    return used.issuperset(_USES) and all(
        callable(getattr(protocol, name, None)) for name in _METHODS
    )


def note_connections(protocol: Any) -> None:
    """Have this process note all connections that are made from now on.

    Args:
        protocol: gunicorn's ``ASGIProtocol``, which is changed.
    """
    made, feed = protocol.connection_made, protocol._feed_callback_parser

    def connection_made(connection: Any, transport: Any) -> None:
        _connections.add(connection)
        made(connection, transport)

    def _feed_callback_parser(connection: Any, data: Any) -> Any:
        goes_on = feed(connection, data)
        # This is noted on the connection, because a set would cost each request more.
        connection._shmstream_half_a_head = not connection._request_ready.is_set()
        return goes_on

    protocol.connection_made = connection_made
    protocol._feed_callback_parser = _feed_callback_parser


async def close_idle() -> None:
    """Close idle connections, and those that become idle, until this is cancelled."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    before: dict[Any, int] = {}
    while True:
        waited = loop.time() - began
        idle = {c: c.req_count for c in list(_connections) if _is_idle(c)}
        for connection, number in idle.items():
            if before.get(connection) == number and waited >= _patience(connection):
                connection._keepalive_timeout()
        before = idle
        await asyncio.sleep(LOOK_S)


def _is_idle(connection: Any) -> bool:
    return bool(connection._awaiting_request and not connection._finishing_calls)


def _patience(connection: Any) -> float:
    """Seconds that an idle connection has, from when the worker begins to leave."""
    if getattr(connection, '_shmstream_half_a_head', False):
        return _HALF_A_REQUEST_S
    return 0.0 if connection.req_count > 1 else _FIRST_REQUEST_S
