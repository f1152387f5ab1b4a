"""A Celery worker produces, and the web processes only read.

``celery -A examples.sources.celery_worker:jobs worker`` on the same machine, and
``gunicorn -c examples/gunicorn.conf.py examples.sources.celery_worker:app``
"""

import asyncio
import os
import threading
from collections.abc import Iterator
from urllib.parse import quote

from celery import Celery
from fastapi import FastAPI, HTTPException
from fastapi.responses import RedirectResponse

from shmstream import StreamNotFound, Streams
from shmstream.fastapi import Answers

streams = Streams.attach()

jobs = Celery(broker=os.environ.get('BROKER', 'redis://'))


def model(prompt: str, cancelled: threading.Event) -> Iterator[str]:
    """Stand in for a model: slow, word by word, and stopped between two words."""
    for word in prompt.split():
        if cancelled.wait(0.02):
            return
        yield word


@jobs.task
def answer(chat_id: str, prompt: str) -> None:
    """Write an answer. Until it is whole the task runs, so a warm shutdown waits."""
    started = streams.start_in_thread(
        chat_id, lambda cancelled: model(prompt, cancelled)
    )
    while not started.join(60):
        pass


app = FastAPI()
answers = Answers('/chat', streams=streams)
app.include_router(answers.router)


def generation(chat_id: str) -> str | None:
    """Which answer has this id by now."""
    try:
        return streams.open(chat_id).generation
    except StreamNotFound:
        return None


@app.post('/chat/{chat_id}')
async def ask(chat_id: str, prompt: str) -> RedirectResponse:
    """Have a worker begin an answer, and send the client there."""
    before = generation(chat_id)
    # In the thread from its first use on: that loads the configuration of Celery.
    await asyncio.to_thread(lambda: answer.delay(chat_id, prompt))
    for _ in range(600):
        if generation(chat_id) not in (before, None):
            return RedirectResponse(f'/chat/{quote(chat_id, safe="")}', 303)
        await asyncio.sleep(0.05)
    raise HTTPException(503, 'no worker has begun within 30 seconds')
