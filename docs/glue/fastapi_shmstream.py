"""The FastAPI chat, whose answers resume by shmstream."""

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel

import shmstream.fastapi
from docs.glue.model import words

app = FastAPI()
answers = shmstream.fastapi.Answers('/chat')
app.include_router(answers.router)


class Question(BaseModel):
    """What a client asks."""

    text: str


@app.post('/chat/{chat}')
async def ask(chat: str, question: Question) -> Response:
    """Answer."""
    return answers.start(chat, words(question.text))
