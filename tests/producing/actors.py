"""A process that starts sources, which another one stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shmstream import Started, Streams
from tests.producing.scripted import Gate, Script
from tests.support.child import WAIT_S, hear, say


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
