"""A request of Django as one for a stream; imports nothing of Django."""

from __future__ import annotations

from typing import Any

from shmstream.answers.routed import path_of
from shmstream.serving.chat_routes import find_chat_route
from shmstream.serving.request import Header, Request
from shmstream.wsgi.application import read_body


def is_asgi(asked: Any) -> bool:
    """Whether a request of Django has come by ASGI, and not by WSGI."""
    return hasattr(asked, 'scope')


def request_of(asked: Any, conv_id: object, route: str = '') -> Request:
    """Return the request for a stream.

    Args:
        asked: the request of Django.
        conv_id: the id in the URL; empty if it has none.
        route: of chats: ``/stream`` or ``/stop``.
    """
    headers: list[Header]
    if is_asgi(asked):
        environment, headers = asked.scope, asked.scope['headers']
        query = asked.scope.get('query_string', b'')
    else:
        environment = asked.environ
        query = environment.get('QUERY_STRING', '').encode('latin-1')
        # Not from ``environ``, where Django has changed the path.
        headers = [
            (name.lower().encode('latin-1'), value.encode('latin-1'))
            for name, value in asked.headers.items()
        ]
    path = path_of(str(conv_id), route)
    request = Request(asked.method, path, query, headers, environment=environment)
    find_chat_route(request)
    return request


def body_of(asked: Any, most: int) -> bytes:
    """Return the body of a request of Django, or its first ``most + 1`` bytes. Blocks.

    Raises:
        Problem: as ``read_body``.
    """
    # Under ASGI Django has read the whole body before. Under WSGI it reads nothing of
    # one without a length.
    there = {
        'CONTENT_LENGTH': asked.META.get('CONTENT_LENGTH'),
        'HTTP_TRANSFER_ENCODING': asked.META.get('HTTP_TRANSFER_ENCODING'),
        'wsgi.input': asked,
        'wsgi.input_terminated': is_asgi(asked),
    }
    return read_body(there, most)
