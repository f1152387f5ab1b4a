"""The server: FastAPI, and a model that only counts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel

from shmstream.fastapi import Answers

HERE = Path(__file__).parent

app = FastAPI()
answers = Answers('/api/chat')
app.include_router(answers.router)  # also /api/chat/ID/stream, and /api/chat/ID/stop


class Chat(BaseModel):
    """What ``useChat`` sends."""

    id: str
    messages: list[dict[str, Any]]


async def model(prompt: str) -> AsyncIterator[str]:
    """Stand in for a model: slow, word by word."""
    for number in range(100):
        await asyncio.sleep(0.2)
        yield f'{prompt} {number}, '


@app.post('/api/chat')
async def ask(chat: Chat) -> Response:
    """Begin an answer, and stream it. It is written to its end, whoever leaves."""
    prompt = chat.messages[-1]['parts'][0]['text']
    return answers.start(chat.id, model(prompt), format='ui')


@app.get('/')
async def page() -> FileResponse:
    """Show the chat."""
    return FileResponse(HERE / 'index.html')


@app.get('/page.js')
async def script() -> FileResponse:
    """Return what esbuild has made of ``page.jsx``."""
    return FileResponse(HERE / 'page.js')
