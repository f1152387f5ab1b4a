"""What a framework's router has found, as a request for a stream."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from shmstream.serving.chat_routes import find_chat_route
from shmstream.serving.request import Request
from shmstream.wsgi.application import request_for


def of_scope(scope: Any, conv_id: str = '', route: str = '') -> Request:
    """Return the request of an ASGI scope. The arguments are those of ``path_of``."""
    path, query = path_of(conv_id, route), scope.get('query_string', b'')
    headers = scope['headers']
    request = Request(scope['method'], path, query, headers, environment=scope)
    find_chat_route(request)
    return request


def of_environ(environ: dict[str, Any], conv_id: str = '', route: str = '') -> Request:
    """Return the request of a WSGI environ. The arguments are those of ``path_of``."""
    request = request_for(environ, path_of(conv_id, route))
    find_chat_route(request)
    return request


def path_of(conv_id: str, route: str) -> bytes:
    """Return the path of a request.

    Args:
        conv_id: the id in the URL, decoded; empty if it has none.
        route: what follows the id on the routes of chats: ``/stream`` or ``/stop``.
    """
    # Bytes that are no UTF-8 stay so, and are refused.
    return f'{quote(conv_id, safe="", errors="surrogatepass")}{route}'.encode()
