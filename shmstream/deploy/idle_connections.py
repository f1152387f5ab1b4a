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
    is busy                                          leaves it to gunicorn, which closes
                                                     it after the response

A connection is closed at the second look and not at the first, because a connection
that looks idle may already have received half of a request.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

LOOK_S = 0.2
_FIRST_REQUEST_S = 1.0
_USES = ('_awaiting_request', '_finishing_calls', '_keepalive_timeout', 'req_count')

_connections: weakref.WeakSet[Any] = weakref.WeakSet()


def known(protocol: Any, used: set[str]) -> bool:
    """Whether the protocol has all that this module uses.

    Args:
        protocol: gunicorn's ``ASGIProtocol``.
        used: the names that the protocol's methods use.
    """
    return callable(getattr(protocol, 'connection_made', None)) and used.issuperset(
        _USES
    )


def note_connections(protocol: Any) -> None:
    """Have this process note all connections that are made from now on.

    Args:
        protocol: gunicorn's ``ASGIProtocol``, which is changed.
    """
    made = protocol.connection_made

    def connection_made(connection: Any, transport: Any) -> None:
        _connections.add(connection)
        made(connection, transport)

    protocol.connection_made = connection_made


async def close_idle() -> None:
    """Close idle connections, and those that become idle, until this is cancelled."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    before: dict[Any, int] = {}
    while True:
        first_too = loop.time() - began >= _FIRST_REQUEST_S
        idle = {c: c.req_count for c in list(_connections) if _is_idle(c)}
        for connection, number in idle.items():
            if before.get(connection) == number and (number > 1 or first_too):
                connection._keepalive_timeout()
        before = idle
        await asyncio.sleep(LOOK_S)


def _is_idle(connection: Any) -> bool:
    return bool(connection._awaiting_request and not connection._finishing_calls)
