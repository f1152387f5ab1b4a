"""Sending a response's headers before its first byte is there.

gunicorn 27's ASGI worker keeps the headers back until the body begins, to save a
write. A reader at the live edge of a quiet stream would know nothing for as long: no
status, no generation, and a proxy in between would give up on the whole response.
"""

from __future__ import annotations

from typing import Any


def install() -> None:
    """Have this process's ASGI worker send headers in the loop's next turn.

    A body that is there at once still goes out with them, in one write. Where its
    length is known they wait for its first byte, as ever: that is no stream.
    """
    from gunicorn.asgi.protocol import ASGIProtocol

    buffer_headers = ASGIProtocol._send_response_start

    def flush(protocol: Any) -> None:
        headers, protocol._response_buffer = protocol._response_buffer, None
        if headers:
            protocol._safe_write(headers)

    def start(
        protocol: Any, status: Any, headers: Any, *args: Any, **more: Any
    ) -> None:
        buffer_headers(protocol, status, headers, *args, **more)
        if not any(name == b'content-length' for name, _ in headers):
            protocol.worker.loop.call_soon(flush, protocol)

    ASGIProtocol._send_response_start = start
