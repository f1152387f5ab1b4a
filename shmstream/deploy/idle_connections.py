"""Connections of an ASGI worker that wait for their next request.

They are kept for longer than balancers keep theirs: who reuses one that the other side
is just closing gets an error. But a worker of gunicorn 27 that is told to leave waits
for them as for those that are busy, ``graceful_timeout`` at the most, and a reload
waits for that worker. So a worker that leaves closes them, as nginx does::

    has had a request, and waits for the next one    closed at the second look
    has not had any yet                              closed after a second
    busy                                             left alone: gunicorn closes it
                                                     after its response

At the second look, because what looks idle may have half of a request.
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
    """Whether the protocol is as it is known.

    Args:
        protocol: gunicorn's ``ASGIProtocol``.
        used: the names that its methods use.
    """
    return callable(getattr(protocol, 'connection_made', None)) and used.issuperset(
        _USES
    )


def note_connections(protocol: Any) -> None:
    """Have this process's connections noted from now on.

    Args:
        protocol: gunicorn's ``ASGIProtocol``, which is changed.
    """
    made = protocol.connection_made

    def connection_made(connection: Any, transport: Any) -> None:
        _connections.add(connection)
        made(connection, transport)

    protocol.connection_made = connection_made


async def close_idle() -> None:
    """Close them, and what becomes idle, until this is cancelled."""
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
