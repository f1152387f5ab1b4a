"""An async generator of texts: each becomes an event.

``gunicorn -c examples/gunicorn.conf.py examples.sources.async_generator:app``
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import Response

from shmstream.fastapi import Answers

app = FastAPI()
answers = Answers('/chat')
app.include_router(answers.router)


async def model(prompt: str) -> AsyncIterator[str]:
    """Stand in for a model: slow, word by word."""
    for word in prompt.split():
        await asyncio.sleep(0.02)
        yield word


@app.post('/chat/{chat_id}')
async def ask(chat_id: str, prompt: str) -> Response:
    """Begin an answer, and stream it."""
    return answers.start(chat_id, model(prompt))
