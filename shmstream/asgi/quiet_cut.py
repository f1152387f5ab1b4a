"""Cuts a response without an error in the log of its server.

To cut a response is to close its connection without the closing chunk. ASGI has no
message for that. A server cuts a response whose application fails or returns early, but
logs an error then, unless its connection was lost before. So the connection is closed
first::

    server   what has the connection            where it notes that it is closed
    uvicorn  the object whose method ``send``   ``disconnected``
             is
    gunicorn the protocol in the cells of       ``_closed``
             ``send``; not of HTTP/2, where
             others share the connection
"""

from __future__ import annotations

import asyncio
from typing import Any

from shmstream.deploy.gunicorn_insides import protocol_of

_TURNS = 100
"""Turns of the event loop in which a server has to notice a closed connection. uvicorn
and gunicorn need two, as a rule."""


async def cut_quietly(send: Any) -> bool:
    """Close the connection of a response, and wait until the server notices.

    Args:
        send: the server's own, which nobody has wrapped.

    Returns:
        False if the connection is not known or not the response's own, or the server
        did not notice.
    """
    owner: Any = getattr(send, '__self__', None)
    noted = 'disconnected'
    if owner is None:
        owner, own = protocol_of(send)
        noted = '_closed' if own else ''
    transport: Any = getattr(owner, 'transport', None)
    # The attributes are checked, because uvloop's transports are not of asyncio's
    # classes.
    if not (noted and hasattr(owner, noted) and hasattr(transport, 'abort')):
        return False
    if transport.get_write_buffer_size():
        # ``close`` would first wait until the client has read what is queued.
        transport.abort()
    else:
        transport.close()
    for _ in range(_TURNS):
        if getattr(owner, noted):
            return True
        await asyncio.sleep(0)
    return False
