"""The Flask chat, whose answers resume by fastapi-resumable-stream.

The package is for event loops, so its streams run on a loop in a thread of their own.
"""

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from fastapi_resumable_stream import (
    ActiveStreamRegistry,
    ResumableStream,
    StopController,
)
from flask import Flask, Response, request
from redis.asyncio import Redis

from docs.glue.model import events

app = Flask(__name__)
redis = Redis.from_url(os.environ['REDIS_URL'])
stream = ResumableStream(redis)
registry = ActiveStreamRegistry(redis)
stop = StopController(redis)
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
Result = TypeVar('Result')


def wait(work: Coroutine[Any, Any, Result]) -> Result:
    """Run on the loop what a request needs."""
    return asyncio.run_coroutine_threadsafe(work, loop).result()


async def following(chunks: AsyncIterator[str]) -> str | None:
    """Return the next chunk."""
    return await anext(chunks, None)


def sent(chunks: AsyncIterator[str]) -> Iterator[str]:
    """Yield the chunks in this thread."""
    while (chunk := wait(following(chunks))) is not None:
        yield chunk


async def begin(chat: str, text: str) -> AsyncIterator[str]:
    """Begin an answer."""
    stream_id = f'{chat}:{secrets.token_hex(8)}'
    await stop.clear(stream_id)
    await registry.set_active(chat, stream_id)
    return await stream.start(stream_id, lambda: events(text))


async def found(chat: str, after: int) -> AsyncIterator[str] | None:
    """Find an answer."""
    stream_id = await registry.get_active(chat)
    return stream_id and await stream.resume(stream_id, after=after)


async def stop_it(chat: str) -> None:
    """Stop an answer."""
    stream_id = await registry.get_active(chat)
    if stream_id is not None:
        await stop.request_stop(stream_id)


@app.post('/chat/<chat>')
def ask(chat: str) -> Response:
    """Answer."""
    text = request.get_json()['text']
    return Response(sent(wait(begin(chat, text))), mimetype='text/event-stream')


@app.get('/chat/<chat>')
def resume(chat: str) -> Response:
    """Resume after so many chunks."""
    resumed = wait(found(chat, int(request.args.get('after', 0))))
    if resumed is None:
        return Response(status=404)
    return Response(sent(resumed), mimetype='text/event-stream')


@app.delete('/chat/<chat>')
def stop_answer(chat: str) -> Response:
    """Stop."""
    wait(stop_it(chat))
    return Response(status=204)
