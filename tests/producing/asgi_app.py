"""A small ASGI application of somebody's: POST begins an answer and streams it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from shmstream import FollowCut, OffsetLost, Streams
from shmstream.asgi import Application
from shmstream.supervisor.config import SupervisorConfig
from tests.producing.scripted import script

FOLDER = Path(os.environ.get('PRODUCING_FOLDER', '.'))
ALONE = bool(os.environ.get('PRODUCING_ALONE'))

if ALONE:
    logging.basicConfig(level=logging.INFO)

streams = Streams.attach(supervise=SupervisorConfig() if ALONE else False)


async def post(scope: Any, receive: Any, send: Any) -> None:
    """Answer a POST of /chats/ID; 404 for the rest."""
    if scope['type'] == 'lifespan':
        raise RuntimeError('this application knows no lifespan')
    if scope['method'] != 'POST':
        await send({'type': 'http.response.start', 'status': 404, 'headers': []})
        await send({'type': 'http.response.body', 'body': b'%d' % os.getpid()})
        return
    body, more = b'', True
    while more:
        event = await receive()
        body, more = body + event.get('body', b''), event.get('more_body', False)
    asked = json.loads(body)
    source = script(FOLDER, asked).on_loop()
    started = await streams.start(scope['path'].removeprefix('/chats/'), source)
    headers = [(n.encode(), v.encode()) for n, v in started.headers.items()]
    headers.append((b'stream-worker', b'%d' % os.getpid()))
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    if asked.get('detached'):
        await send({'type': 'http.response.body', 'body': b''})
        return
    try:
        async for chunk in started.follow():
            await send({'type': 'http.response.body', 'body': chunk, 'more_body': True})
    except (FollowCut, OffsetLost):
        raise asyncio.CancelledError from None
    await send({'type': 'http.response.body', 'body': b''})


app = Application(streams, prefix='/chats', otherwise=post)
