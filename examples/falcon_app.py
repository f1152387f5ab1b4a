"""A Falcon ASGI application of your own, with resumable answers.

``gunicorn -c examples/gunicorn.conf.py examples.falcon_app:app``
"""

import asyncio
from collections.abc import AsyncIterator

import falcon
import falcon.asgi

from shmstream import FollowCut, OffsetLost, StreamNotFound, Streams

streams = Streams.attach()
jobs: set[asyncio.Task[None]] = set()


async def model(prompt: str) -> AsyncIterator[bytes]:
    """Stand-in for what takes its time."""
    for word in prompt.split():
        await asyncio.sleep(0.02)
        yield f'data: {word}\n\n'.encode()


async def generate(chat: str, prompt: str) -> None:
    """Write the answer into the stream, whoever listens, to the end."""
    with await asyncio.to_thread(streams.create, chat) as producer:
        async for event in model(prompt):
            if not producer.write(event):
                return  # cancelled, or replaced by a newer question


class Chat:
    """POST begins an answer, GET reads it from any offset, DELETE stops it."""

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, chat: str
    ) -> None:
        prompt = (await req.stream.read()).decode()
        job = asyncio.create_task(generate(chat, prompt))
        jobs.add(job)
        job.add_done_callback(jobs.discard)
        resp.status = falcon.HTTP_202

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, chat: str
    ) -> None:
        try:
            consumer = streams.open(chat)
        except StreamNotFound:
            raise falcon.HTTPNotFound from None
        offset = req.get_param_as_int('from', min_value=0) or 0
        resp.content_type = consumer.content_type
        resp.stream = self.body(consumer.follow(offset, leave=streams.leaving))

    async def body(self, follower: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in follower:
                yield chunk
        except (FollowCut, OffsetLost):
            # Not the end of the answer: close without the closing chunk, so that the
            # client resumes (elsewhere, if this worker is being replaced).
            raise asyncio.CancelledError from None

    async def on_delete(
        self, _: falcon.asgi.Request, resp: falcon.asgi.Response, chat: str
    ) -> None:
        await asyncio.to_thread(streams.evict, chat)
        resp.status = falcon.HTTP_204


app = falcon.asgi.App()
app.add_route('/chats/{chat}', Chat())
