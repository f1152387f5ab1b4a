"""The FastAPI chat, whose answers resume by fastapi-resumable-stream, as it says."""

import os
import secrets

from fastapi import FastAPI
from fastapi.responses import Response
from fastapi_resumable_stream import (
    ActiveStreamRegistry,
    ResumableStream,
    StopController,
    resume_conversation_stream,
    start_conversation_stream,
    stop_conversation_stream,
    streaming_response,
)
from pydantic import BaseModel
from redis.asyncio import Redis

from docs.glue.model import events

app = FastAPI()
redis = Redis.from_url(os.environ['REDIS_URL'])
stream = ResumableStream(redis)
registry = ActiveStreamRegistry(redis)
stop = StopController(redis)


class Question(BaseModel):
    """What a client asks."""

    text: str


@app.post('/chat/{chat}')
async def ask(chat: str, question: Question) -> Response:
    """Answer."""
    return await start_conversation_stream(
        stream,
        registry,
        stop,
        chat,
        f'{chat}:{secrets.token_hex(8)}',
        producer=lambda: events(question.text),
    )


@app.get('/chat/{chat}')
async def resume(chat: str, after: int = 0) -> Response:
    """Resume after so many chunks."""
    resumed = await resume_conversation_stream(stream, registry, chat, after=after)
    if resumed is None:
        return Response(status_code=404)
    return streaming_response(resumed)


@app.delete('/chat/{chat}')
async def stop_answer(chat: str) -> Response:
    """Stop."""
    await stop_conversation_stream(registry, stop, chat)
    return Response(status_code=204)
