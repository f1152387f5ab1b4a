"""FastAPI applications of somebody's, each with other middleware, in one process.

The first segment of a path says which of them answers. All of them have the same
conversations, so an answer that one has begun can be read through each of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response

from shmstream import Streams, SupervisorConfig, owner_of
from shmstream.fastapi import Answers
from shmstream.ids import NOBODY
from shmstream.serving import Verdict, refusal
from tests.answers.watched import FASTAPI, watch
from tests.producing.scripted import script

FOLDER = Path(os.environ.get('ANSWERS_FOLDER', '.'))
EVENT = 'x' * 16_000

logging.basicConfig(level=logging.INFO)

streams = Streams.attach(
    supervise=SupervisorConfig() if os.environ.get('ANSWERS_ALONE') else False
)


class Question(BaseModel):
    """What somebody asks, and how the source answers; ``flood``: large events."""

    name: str
    before: int = 0
    after: int = 0
    fails: bool = False
    flood: int = 0
    format: str = 'sse'
    capacity: int | None = None


async def flooding(begun: AsyncIterator[str], events: int) -> AsyncIterator[str]:
    """A source that waits at its gate, and then is quicker than any client."""
    async for item in begun:
        yield item
    for _ in range(events):
        yield EVENT
        await asyncio.sleep(0)


async def permit(request: Request) -> Verdict:
    """Tell users apart by a header."""
    user = request.headers.get('x-user')
    if user == 'unknown':
        raise HTTPException(401, 'Who are you?')
    if user == 'banned':
        return refusal(403, 'You are not allowed to')
    return owner_of(user) if user else NOBODY


def ask_for_key(key: Annotated[str | None, Header()] = None) -> None:
    """A dependency of the whole router."""
    if key == 'wrong':
        raise HTTPException(403, 'wrong key')


def make(name: str) -> FastAPI:
    """An application whose paths begin with its name."""
    app = FastAPI(docs_url=f'/{name}/docs', openapi_url=f'/{name}/openapi.json')
    answers = Answers('/chat', permit, streams=streams)
    app.include_router(
        answers.router, prefix=f'/{name}', dependencies=[Depends(ask_for_key)]
    )

    @app.get(f'/{name}/which')
    async def which() -> Response:
        return Response(str(os.getpid()))

    @app.get(f'/{name}/chat')
    async def chats() -> list[str]:
        return ['all', 'chats']

    @app.get(f'/{name}/chat/{{chat_id}}/title')
    async def title(chat_id: str) -> str:
        return f'the title of {chat_id}'

    @app.post(f'/{name}/chat/{{chat_id:path}}')
    async def ask(
        chat_id: str, question: Question, background: BackgroundTasks
    ) -> Response:
        source = script(FOLDER, question.model_dump()).on_loop()
        if question.flood:
            source = flooding(source, question.flood)
        background.add_task((FOLDER / f'{question.name}.sent').touch)
        response = answers.start(
            chat_id, source, format=question.format, capacity=question.capacity
        )
        response.headers['stream-worker'] = str(os.getpid())
        response.set_cookie('last-chat', question.name)
        return response

    return app


async def tell_worker(request: Request, call_next: Any) -> Response:
    """Middleware of the kind that runs the application in a task of its own."""
    response: Response = await call_next(request)
    response.headers['stream-worker'] = str(os.getpid())
    return response


APPS = {name: make(name) for name in ('plain', 'cors', 'gzip', 'base')}
APPS['cors'].add_middleware(
    CORSMiddleware,
    allow_origins=['https://example.org'],
    expose_headers=['stream-generation', 'content-location'],
)
APPS['gzip'].add_middleware(GZipMiddleware, minimum_size=1)
APPS['base'].add_middleware(BaseHTTPMiddleware, dispatch=tell_worker)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Have the application answer whose name the path begins with."""
    name = scope['path'].split('/')[1] if scope['type'] == 'http' else 'plain'
    await APPS.get(name, APPS['plain'])(scope, receive, send)


watch(FASTAPI)
