"""A FastAPI application that speaks OpenAI's API, whose answers resume."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from shmstream.fastapi import Answers

app = FastAPI()
answers = Answers('/answers')
app.include_router(answers.router)


def chunk(number: int) -> dict[str, Any]:
    """A chunk of a chat completion, which compresses badly."""
    word = hashlib.sha256(str(number).encode()).hexdigest()
    delta = {'content': f'{number} {word} '}
    return {
        'id': 'chatcmpl-1',
        'object': 'chat.completion.chunk',
        'created': 1,
        'model': 'counting',
        'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}],
    }


async def counting(events: int) -> AsyncIterator[dict[str, Any]]:
    """Stand in for a model."""
    for number in range(events):
        await asyncio.sleep(0.002)
        yield chunk(number)


@app.post('/v1/chat/completions')
async def complete(request: Request) -> Response:
    """Begin an answer, and stream it."""
    asked = await request.json()
    name = request.headers['x-conversation-id']
    return answers.start(name, counting(asked['max_tokens']))
