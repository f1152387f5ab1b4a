"""Cuts a response behind middleware that runs the application in a task of its own.

starlette's ``BaseHTTPMiddleware`` runs the application in a second task, and sends what
that task gives it. Whatever ends the second task, an exception or a cancellation, it
ends the body as if it were whole, with the closing chunk::

    the server's task            reads from a queue, and sends; at its end: the closing
         | parent of             chunk
    the application's task       writes to the queue, and ends

So the server's task is cancelled, which every server takes as a cut. The parent of a
task is known to ``anyio``, by which that middleware begins its tasks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from shmstream.asgi.servers_send import servers_send

_MIDDLEWARE = 'starlette.middleware.base'
_COMPRESSING = 'starlette.middleware.gzip'

_MOST = 16
"""Middleware that is looked behind, at the most."""

_WAIT_S = 1.0
"""Seconds, at the most, in which the cancelled task has to end the application's."""


def servers_side(receive: Any, send: Any) -> tuple[Any, int]:
    """Return the ``send`` of the server, and how many such middleware there are.

    The ``send`` is for finding the connection, and not for sending: what wraps it may
    change bodies.

    Args:
        receive: the ``receive`` that the application has been given.
        send: the ``send`` that the application has been given.

    Returns:
        The outermost ``send`` that could be found.
    """
    count = 0
    for _ in range(_MOST):
        send = servers_send(send)
        owner: Any = getattr(send, '__self__', None)
        if type(owner).__module__ == _COMPRESSING and hasattr(owner, 'send'):
            send = owner.send
            continue
        request = _request_behind(receive)
        if request is None:
            break
        count += 1
        receive, send = request._receive, request._send
    return send, count


def _request_behind(receive: Any) -> Any | None:
    """Return the middleware's own request, which keeps the server's functions."""
    code = getattr(receive, '__code__', None)
    if (
        code is None
        or getattr(receive, '__module__', None) != _MIDDLEWARE
        or 'wrapped_receive' not in code.co_freevars
    ):
        return None
    cell = receive.__closure__[code.co_freevars.index('wrapped_receive')]
    request = getattr(cell.cell_contents, '__self__', None)
    known = hasattr(request, '_send') and hasattr(request, '_receive')
    return request if known else None


async def cancel_servers_task(count: int) -> None:
    """Cancel the task that sends the response. Called in the application's task.

    Returns only if that task was not found, or goes on.

    Args:
        count: how many such middleware there are.

    Raises:
        CancelledError: the task has been cancelled, and this one with it.
    """
    import anyio

    parent = anyio.get_current_task().parent_id
    if count > 1:
        parents = {task.id: task.parent_id for task in anyio.get_running_tasks()}
        for _ in range(count - 1):
            parent = None if parent is None else parents.get(parent)
    for task in asyncio.all_tasks():
        if id(task) == parent:
            task.cancel()
            await asyncio.sleep(_WAIT_S)
            return
