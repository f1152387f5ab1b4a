"""A Falcon ASGI application of your own, with resumable answers.

``gunicorn -c examples/gunicorn.conf.py examples.falcon_app:app``
"""

import asyncio
from collections.abc import AsyncIterator

import falcon
import falcon.asgi

from shmstream import Streams
from shmstream.asgi import Application

streams = Streams.attach()
jobs: set[asyncio.Task[None]] = set()


async def model(prompt: str) -> AsyncIterator[bytes]:
    """Stand in for a model: slow, word by word."""
    for word in prompt.split():
        await asyncio.sleep(0.02)
        yield f'data: {word}\n\n'.encode()


async def generate(chat: str, prompt: str) -> None:
    """Write the whole answer into the stream, whether or not anybody reads it."""
    with await asyncio.to_thread(streams.create, chat) as producer:
        async for event in model(prompt):
            if not producer.write(event):
                return  # cancelled, or replaced by a newer question


class Chat:
    """POST begins an answer."""

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, chat: str
    ) -> None:
        prompt = (await req.stream.read()).decode()
        job = asyncio.create_task(generate(chat, prompt))
        jobs.add(job)
        job.add_done_callback(jobs.discard)
        resp.status = falcon.HTTP_202


chats = falcon.asgi.App()
chats.add_route('/chats/{chat}', Chat())

# GET reads an answer from any offset, DELETE stops it; other requests go to `chats`.
app = Application(streams, prefix='/chats', otherwise=chats)
