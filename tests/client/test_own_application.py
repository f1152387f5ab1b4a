"""The package ``openai`` over ten cuts, against a FastAPI application of somebody's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

from shmstream import State
from shmstream.client import following_of, resumable
from tests.client.fastapi_app import chunk
from tests.client.test_openai import MESSAGES, client_of
from tests.client.turns import Turns, cut
from tests.support.nginx import Nginx, needs_nginx
from tests.support.service import ROOT, Service

EVENTS = 100
EXPECTED = [ChatCompletionChunk.model_validate(chunk(n)) for n in range(EVENTS)]
CUTS = range(150, 250, 10)

Serve = Callable[..., Service]


def own(serve: Serve) -> Service:
    """Start the application with two workers."""
    return serve(
        workers=2,
        config=ROOT / 'examples' / 'gunicorn.conf.py',
        arguments=('tests.client.fastapi_app:app',),
    )


@needs_nginx
def test_ten_cuts_behind_nginx_with_gzip(serve: Serve, tmp_path: Path) -> None:
    """Nothing is missing, nothing is there twice."""
    with (
        Nginx(tmp_path, own(serve).port) as nginx,
        Turns(nginx.port, *map(cut, CUTS)) as relay,
        client_of(relay.port, 'ten') as client,
    ):
        stream = client.chat.completions.create(
            model='any', messages=MESSAGES, stream=True, max_tokens=EVENTS
        )
        assert stream.response.headers['content-encoding'] == 'gzip'
        assert list(stream) == EXPECTED
        assert following_of(stream).resumes == len(CUTS)
        assert following_of(stream).state is State.COMPLETE
        assert all(b'gzip' in request.lower() for request in relay.requests)
        resumed = [line for line in relay.asked if line.startswith('GET')]
        assert all(line.startswith('GET /answers/ten?') for line in resumed)


@needs_nginx
def test_ten_cuts_on_an_event_loop(serve: Serve, tmp_path: Path) -> None:
    async def read(port: int) -> tuple[list[Any], int]:
        async with openai.AsyncOpenAI(
            base_url=f'http://127.0.0.1:{port}/v1', api_key='any', max_retries=0
        ) as client:
            stream = await resumable(client, 'ten/a').chat.completions.create(
                model='any', messages=MESSAGES, stream=True, max_tokens=EVENTS
            )
            return [each async for each in stream], following_of(stream).resumes

    with (
        Nginx(tmp_path, own(serve).port) as nginx,
        Turns(nginx.port, *map(cut, CUTS)) as relay,
    ):
        assert asyncio.run(read(relay.port)) == (EXPECTED, len(CUTS))
        assert all(b'gzip' in request.lower() for request in relay.requests)
