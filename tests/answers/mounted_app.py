"""A FastAPI application that is mounted in another one, of which it knows nothing."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response

from shmstream import Streams, SupervisorConfig
from shmstream.fastapi import Answers
from tests.producing.scripted import script

FOLDER = Path(os.environ.get('ANSWERS_FOLDER', '.'))

streams = Streams.attach(
    supervise=SupervisorConfig() if os.environ.get('ANSWERS_ALONE') else False
)
answers = Answers('/chat', streams=streams)
sub = FastAPI()
sub.include_router(answers.router)


@sub.post('/chat/{chat_id}')
async def ask(chat_id: str, question: dict[str, str | int]) -> Response:
    """Begin an answer."""
    return answers.start(chat_id, script(FOLDER, question).on_loop())


app = FastAPI(lifespan=answers.lifespan)


@app.get('/which')
async def which() -> Response:
    """Say which worker this is."""
    return Response(str(os.getpid()))


app.mount('/api', sub)
