"""The server's own ``send`` behind that of a framework.

A framework wraps the ``send`` of its server, to note that a response has begun, or to
add headers to it. What such wrappers do to the parts of a body is nothing but to pass
them on, at the cost of a coroutine each. So a response's head goes through all of them,
and its body to the server::

    gunicorn's send <-- ServerErrorMiddleware <-- CORSMiddleware <-- ... <-- the route
         ^                                                                    |    |
         '--------------------- the body -------------------------------------'    |
                                the head, through all of them <--------------------'

Only wrappers that are known to pass bodies on are skipped. If one is not known (it may
compress the body), the rest of the chain is used as it is.
"""

from __future__ import annotations

import functools
from typing import Any

_PASS_BODIES_ON = {
    (
        'starlette._exception_handler',
        'wrap_app_handling_exceptions.<locals>.wrapped_app.<locals>.sender',
    ),
    ('starlette.middleware.errors', 'ServerErrorMiddleware.__call__.<locals>._send'),
    ('starlette.middleware.cors', 'CORSMiddleware.send'),
}
"""Modules and names of functions that change the head of a response at the most."""

_MOST = 16
"""Wrappers that are looked behind, at the most."""

_SERVERS = frozenset(
    {'gunicorn', 'uvicorn', 'hypercorn', 'granian', '_granian', 'daphne'}
)
"""The packages of servers, which may be called from any task, or from none."""


def servers_send(send: Any) -> Any:
    """Return what takes the parts of a body, once the head has gone through ``send``.

    Returns:
        The ``send`` of the server, or of the outermost wrapper that is not known.
    """
    for _ in range(_MOST):
        inner = _behind(send)
        if inner is None:
            break
        send = inner
    return send


def _behind(send: Any) -> Any:
    """Return the ``send`` that a known wrapper passes bodies on to, or None."""
    function, bound = send, {}
    if isinstance(send, functools.partial):
        function, bound = send.func, send.keywords
    code = getattr(function, '__code__', None)
    if code is None:
        return None
    named = getattr(function, '__module__', None), getattr(function, '__qualname__', '')
    # A later version that does something to bodies would have to ask for their type.
    if named not in _PASS_BODIES_ON or 'http.response.body' in code.co_consts:
        return None
    if 'send' in bound:
        return bound['send']
    if 'send' not in code.co_freevars:
        return None
    return function.__closure__[code.co_freevars.index('send')].cell_contents


def is_servers_own(function: Any) -> bool:
    """Whether a ``send`` or ``receive`` is that of a known server, with no wrapper.

    Only such a ``send`` may be called outside of the application's task. A wrapper may
    depend on its task, as everything that is built on ``anyio`` does.
    """
    module = getattr(function, '__module__', None)
    if not isinstance(module, str):
        owner = getattr(function, '__self__', None)
        if owner is None:
            return True
        # A method of a server that is not written in Python.
        module = type(owner).__module__
    return module.partition('.')[0] in _SERVERS
