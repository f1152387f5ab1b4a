"""A generator that blocks: it runs in a thread of its own.

``gunicorn -c examples/gunicorn.conf.py examples.sources.blocking_generator:app``
"""

import threading
from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.responses import Response

from shmstream.fastapi import Answers

app = FastAPI()
answers = Answers('/chat')
app.include_router(answers.router)


def model(prompt: str, cancelled: threading.Event) -> Iterator[str]:
    """Stand in for a model: slow, word by word, and stopped between two words."""
    for word in prompt.split():
        if cancelled.wait(0.02):
            return
        yield word


@app.post('/chat/{chat_id}')
async def ask(chat_id: str, prompt: str) -> Response:
    """Begin an answer, and stream it."""
    return answers.start(chat_id, lambda cancelled: model(prompt, cancelled))
