"""Writing to many readers of one stream for less than gunicorn's ``send`` costs.

A message, a coroutine, and the framing of a chunk for each reader anew are a third of
what a delivery costs. At the live edge all readers get the same chunk: it is framed
once and written to their transports, under the conditions under which ``send`` would
do just that. In all other cases, and if gunicorn is not as we know it, ``send`` it is.
"""

from __future__ import annotations

import functools
from typing import Any

from shmstream.http.body import WRITE

_USED = ('_uses_uwsgi', '_response_buffer', '_flow_control', '_closed', 'transport')


def install() -> None:
    """Have this process's ASGI worker offer direct writes to response bodies."""
    from gunicorn.asgi.protocol import ASGIProtocol

    build_scope = ASGIProtocol._build_http_scope

    def offer(protocol: Any, request: Any, *args: Any) -> Any:
        scope = build_scope(protocol, request, *args)
        # ``send`` counts the bytes for the access log.
        if (
            all(hasattr(protocol, name) for name in _USED)
            and not protocol._uses_uwsgi
            and request.version == (1, 1)
            and not protocol.log.access_log_enabled
        ):
            scope[WRITE] = functools.partial(_write, protocol)
        return scope

    ASGIProtocol._build_http_scope = offer


def _write(protocol: Any, data: bytes) -> bool:
    """Write a chunk of a chunked body; a ``Write`` of ``wakeups.push``."""
    flow = protocol._flow_control
    if (
        protocol._response_buffer is not None
        or protocol._closed
        or flow is None
        or flow.write_paused
    ):
        return False
    try:
        protocol.transport.write(_framed(data))
    except RuntimeError:
        # It is closing. ``send`` knows what to make of that.
        return False
    return True


@functools.lru_cache(maxsize=1)
def _framed(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data)
