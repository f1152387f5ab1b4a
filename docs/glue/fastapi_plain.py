"""A FastAPI chat whose answers are lost with their connection."""

from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from docs.glue.model import events

app = FastAPI()


class Question(BaseModel):
    """What a client asks."""

    text: str


@app.post('/chat/{chat}')
async def ask(chat: str, question: Question) -> Response:
    """Answer."""
    return StreamingResponse(events(question.text), media_type='text/event-stream')
