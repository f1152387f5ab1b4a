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


async def model(prompt: str) -> AsyncIterator[str]:
    """Stand in for a model: slow, word by word."""
    for word in prompt.split():
        await asyncio.sleep(0.02)
        yield word


class Chat:
    """POST begins an answer."""

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, chat: str
    ) -> None:
        prompt = (await req.stream.read()).decode()
        # The answer is written to its end, whether or not anybody reads it, and
        # through a reload of the workers.
        await streams.start(chat, model(prompt))
        resp.status = falcon.HTTP_202


chats = falcon.asgi.App()
chats.add_route('/chats/{chat}', Chat())

# GET reads an answer from any offset, DELETE stops it; other requests go to `chats`.
app = Application(streams, prefix='/chats', otherwise=chats)
