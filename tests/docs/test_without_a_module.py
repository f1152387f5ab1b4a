"""What docs/applications/without-a-module.md shows is run as it stands there."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import StreamingResponse

import shmstream.asgi
from shmstream import Streams, owner_of
from tests.support.pages import block

PAGE = 'docs/applications/without-a-module.md'


async def model(prompt: str) -> AsyncIterator[str]:
    for word in prompt.split():
        yield word


def run(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run a block, on an event loop if it awaits; returns its names."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    names = {'shmstream': shmstream, **given}
    result = eval(compile(block(PAGE, name), name, 'exec', flags=flags), names)
    if inspect.iscoroutine(result):
        asyncio.run(result)
    return names


def test_the_page_begins_follows_and_stops(
    streams: Streams, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('SHMSTREAM_DIR', str(directory))
    given = {
        'StreamingResponse': StreamingResponse,
        **{'model': model, 'prompt': 'Hello world', 'from_offset': 13},
    }
    made = run('begin, follow, stop', given)
    made['streams'].close()
    assert made['chunk'] == b'data: world\n\n'
    assert made['started'].headers['stream-generation'] == made['started'].generation

    run('write', {'streams': streams, 'events': [b'data: 1\n\n', b'data: 2\n\n']})
    assert streams.open('chat-1').total_bytes == 18

    given = {'streams': streams, 'app': None, 'permit': lambda _: owner_of('alice')}
    app = run('mount', given)['app']
    assert isinstance(app, shmstream.asgi.Application)
