"""An answer task is a production of its process, from its first moment on."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from shmstream import Streams
from shmstream.http.answer_task import AnswerTask
from shmstream.producing.running import here
from shmstream.serving.problems import Problem
from shmstream.setting_parsers import OnDisconnect
from tests.support.leaks import wait_until


def begin(streams: Any) -> AnswerTask:
    nothing: Any = SimpleNamespace()
    return AnswerTask(streams, nothing, 'c', bytes(32), OnDisconnect())


async def abort_all() -> None:
    """As the drain does it: in a thread of its own."""
    for production in here.all():
        await asyncio.to_thread(production.abort, 'as a test wants it')


async def told(task: AnswerTask) -> Problem:
    async with asyncio.timeout(20):
        with pytest.raises(Problem) as raised:
            await task.answer()
        await asyncio.wait([task.task])
    return raised.value


def test_a_worker_that_leaves_while_the_stream_is_made_says_so() -> None:
    making, go = threading.Event(), threading.Event()

    def create(*_: object, **__: object) -> None:
        making.set()
        assert go.wait(20)

    async def run() -> Problem:
        task = begin(SimpleNamespace(create=create))
        assert await asyncio.to_thread(making.wait, 20)
        try:
            await abort_all()
            return await told(task)
        finally:
            go.set()

    assert asyncio.run(run()).status == 503
    assert not here.all()


def test_a_worker_that_leaves_while_the_request_arrives_says_so(
    streams: Streams,
) -> None:
    async def run() -> Problem:
        task = begin(streams)
        assert await asyncio.to_thread(wait_until, lambda: bool(streams.lookup(['c'])))
        (found,) = here.all()
        await abort_all()
        problem = await told(task)
        assert found.ended.is_set()
        return problem

    assert asyncio.run(run()).status == 503
    assert not here.all()
