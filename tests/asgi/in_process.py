"""ASGI applications called in process, as a server calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

WAIT_S = 15

Message = dict[str, Any]


def scope(target: str, method: str = 'GET', root: str = '', **headers: str) -> Message:
    """As gunicorn's: the path decoded, and as it was sent."""
    path, _, query = target.partition('?')
    named = [(n.replace('_', '-').encode(), v.encode()) for n, v in headers.items()]
    return {
        'type': 'http',
        'asgi': {'version': '3.0'},
        'http_version': '1.1',
        'method': method,
        'scheme': 'http',
        'path': unquote(path),
        'raw_path': path.encode('latin-1'),
        'query_string': query.encode('latin-1'),
        'root_path': root,
        'headers': [(b'host', b'test'), *named],
        'server': ('127.0.0.1', 80),
        'client': ('127.0.0.1', 1),
    }


async def messages(
    app: Any,
    asked: Message,
    on_body: Callable[[], None] = lambda: None,
    on_head: Callable[[], None] = lambda: None,
) -> list[Message]:
    """Everything that is sent; ``on_body`` is called when the first bytes are."""
    sent: list[Message] = []

    events: list[Message] = [{'type': 'http.request', 'body': b'', 'more_body': False}]

    async def receive() -> Message:
        if events:
            return events.pop()
        await asyncio.sleep(WAIT_S)
        return {'type': 'http.disconnect'}

    async def send(message: Message) -> None:
        kept = dict(message)
        # Middleware may change what it is given, and nothing else may change with it.
        headers = message.get('headers', [])
        kept['headers'] = list(headers)
        headers.clear()
        message.clear()
        sent.append(kept)
        if kept['type'] == 'http.response.start':
            on_head()
        if kept['type'] == 'http.response.body' and kept.get('body'):
            on_body()

    await asyncio.wait_for(app(asked, receive, send), WAIT_S)
    return sent


def told(sent: list[Message]) -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """Status, headers, body, and whether it has ended as if it were whole."""
    start, *bodies = sent
    headers = dict(start['headers'])
    assert len(headers) == len(start['headers'])
    body = b''.join(message.get('body', b'') for message in bodies)
    return start['status'], headers, body, not bodies[-1].get('more_body')


def call(app: Any, asked: Message) -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """What is answered, as ``told``."""
    return told(asyncio.run(messages(app, asked)))
