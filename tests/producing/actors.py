"""A process that starts sources, which another one stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from shmstream import Started, Streams
from shmstream.deploy.worker_life import WorkerLife
from shmstream.producing.drain import Drain
from shmstream.producing.running import here
from tests.producing.scripted import Gate, Script
from tests.support.child import WAIT_S, hear, say
from tests.support.loop_guard import activate


def on_a_loop(directory: str, folder: str, format: str) -> None:
    """Start a source in a task; say when it is silent, and how it has ended."""

    async def work(streams: Streams) -> None:
        source = Script(Gate(Path(folder), 'a'), 1, 1).on_loop()
        started = await streams.start('a', source, format=format)
        say(started.generation)
        assert await started.ajoin(WAIT_S)
        say(started.consumer.state.label)
        await asyncio.to_thread(hear)

    with Streams.attach(directory) as streams:
        asyncio.run(work(streams))


def in_a_thread(directory: str, folder: str, format: str) -> None:
    """The same in a thread."""
    with Streams.attach(directory) as streams:
        source = Script(Gate(Path(folder), 'a'), 1, 1).in_thread
        started: Started = streams.start_in_thread('a', source, format=format)
        say(started.generation)
        assert started.join(WAIT_S)
        say(started.consumer.state.label)
        hear()


def by_hand(directory: str, folder: str, format: str) -> None:
    """A producer of the application's own, which writes nothing more."""
    with Streams.attach(directory) as streams, streams.create('a') as producer:
        producer.write(b'data: event 0\n\n')
        say(producer.generation)
        hear()
        say(producer.write(b'more'))
        hear()


async def _silent() -> AsyncIterator[str]:
    yield 'a'
    await asyncio.Event().wait()


def guarded(directory: str, folder: str) -> None:
    """Start, follow, stop and drain on a loop; say which calls have blocked it."""
    found = Path(folder) / 'blocked'

    async def work(streams: Streams) -> None:
        for source in (_silent(), ['a']):
            started = await streams.start('a', source)
            assert await anext(started.follow())
        async with asyncio.timeout(WAIT_S):
            started = await streams.start('b', _silent())
            follower = started.follow()
            await anext(follower)
            await streams.astop('b')
            async for _ in follower:
                pass
            assert await started.ajoin(WAIT_S)
            await Drain(WorkerLife(), 0, here.all).finish_async()

    with Streams.attach(directory) as streams:
        activate(found)
        # Not ``asyncio.run``, which joins the threads of ``to_thread`` on the loop.
        asyncio.new_event_loop().run_until_complete(work(streams))
        say(found.read_text())
