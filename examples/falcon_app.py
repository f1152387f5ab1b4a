"""A Falcon ASGI application of your own, with resumable answers.

``gunicorn -c examples/gunicorn.conf.py examples.falcon_app:app``
"""

import asyncio
from collections.abc import AsyncIterator

import falcon.asgi

from shmstream.falcon import Answers


async def model(prompt: str) -> AsyncIterator[str]:
    """Stand in for a model: slow, word by word."""
    for word in prompt.split():
        await asyncio.sleep(0.02)
        yield word


class Chat(Answers):
    """GET reads an answer from any offset, DELETE stops it, POST begins it."""

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, conv_id: str
    ) -> None:
        prompt = (await req.stream.read()).decode()
        # The answer is written to its end, whoever leaves, and through a reload of the
        # workers.
        await self.start(req, resp, conv_id, model(prompt))


chat = Chat()
app = falcon.asgi.App(middleware=[chat])
app.add_route('/chats/{conv_id}', chat)
