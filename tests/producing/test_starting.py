"""Starting: what may be a source, where it runs, how it is closed, what it returns."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shmstream import LocalError, NoRoom, State, Streams, owner_of
from shmstream.errors import InvalidConversationId
from shmstream.producing import running
from tests.api.following import on_loop
from tests.producing import actors
from tests.producing.scripted import text, whole
from tests.support.child import Child
from tests.support.leaks import wait_until

EVENTS = 5
WHOLE = whole(EVENTS)


async def on_a_loop() -> AsyncIterator[str]:
    for number in range(EVENTS):
        await asyncio.sleep(0)
        yield text(number)


def blocking(_cancelled: object = None) -> Iterator[str]:
    yield from map(text, range(EVENTS))


class Stream:
    """As a client's: it can be iterated, and closed by a coroutine of another name."""

    def __init__(self) -> None:
        self.closed = False

    def __aiter__(self) -> AsyncIterator[str]:
        return on_a_loop()

    async def close(self) -> None:
        self.closed = True


SOURCES: dict[str, Callable[[], Any]] = {
    'async generator': on_a_loop,
    'async iterable': Stream,
    'generator': blocking,
    'list': lambda: list(blocking()),
    'function': lambda: blocking,
    'function that returns an async generator': lambda: lambda _: on_a_loop(),
}


@pytest.mark.parametrize('source', SOURCES.values(), ids=SOURCES)
def test_a_source_is_written_whole(
    streams: Streams, conv_id: str, source: Callable[[], Any]
) -> None:
    async def work() -> bytes:
        started = await streams.start(conv_id, source())
        return b''.join([chunk async for chunk in started.follow()])

    assert on_loop(work) == WHOLE
    started = streams.start_in_thread(conv_id, source())
    assert b''.join(started.follow()) == WHOLE
    assert started.join(20)
    assert started.consumer.state is State.COMPLETE
    assert not running.here.all()


@pytest.mark.parametrize(
    'source',
    [None, 5, 'text', b'bytes', {'a': 1}, lambda _: 'text', lambda _: lambda _: []],
    ids=['None', 'a number', 'a text', 'bytes', 'a dict', 'makes a text', 'too deep'],
)
def test_what_is_no_source_is_refused(
    streams: Streams, conv_id: str, source: Any
) -> None:
    if callable(source):
        # Only a call shows what it returns.
        started = streams.start_in_thread(conv_id, source)
        assert b'event: error' in b''.join(started.follow())
    else:
        with pytest.raises(LocalError, match='a source is an iterator'):
            streams.start_in_thread(conv_id, source)
        assert streams.lookup([conv_id]) == []


def test_a_coroutine_is_no_source(streams: Streams, conv_id: str) -> None:
    async def model() -> Any:
        return on_a_loop()

    with pytest.raises(LocalError, match='a coroutine is no source'):
        streams.start_in_thread(conv_id, model())  # type: ignore[arg-type]


def test_a_source_that_cannot_be_started_is_closed(streams: Streams) -> None:
    stream = Stream()

    async def work() -> None:
        with pytest.raises(InvalidConversationId):
            await streams.start('', stream)

    on_loop(work)
    assert stream.closed


def test_productions_have_a_limit(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, 'MAX_RUNNING', 1)
    go = threading.Event()

    def silent(_: object) -> Iterator[str]:
        assert go.wait(20)
        yield 'a'

    started = streams.start_in_thread(conv_id, silent)
    with pytest.raises(NoRoom, match='1 productions run in this process'):
        streams.start_in_thread(f'{conv_id}-2', ['a'])
    go.set()
    assert started.join(20)
    assert wait_until(lambda: not running.here.all())
    streams.start_in_thread(f'{conv_id}-2', ['a']).join(20)


def test_what_is_returned_makes_a_response(streams: Streams, conv_id: str) -> None:
    owner = owner_of('alice')
    started = streams.start_in_thread(conv_id, blocking(), owner=owner, capacity=65536)
    assert started.join(20)
    assert started.conv_id == conv_id
    assert started.generation == streams.open(conv_id, owner=owner).generation
    assert started.headers == {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store, no-transform',
        'x-accel-buffering': 'no',
        'x-content-type-options': 'nosniff',
        'stream-offset': '0',
        'stream-generation': started.generation,
    }
    assert b''.join(started.follow(10)) == WHOLE[10:]
    with pytest.raises(LocalError):
        started.follow(-1)


def test_the_caller_s_context_is_the_source_s(streams: Streams, conv_id: str) -> None:
    name = contextvars.ContextVar('name', default='nobody')
    name.set('alice')

    def source(_: object) -> Iterator[str]:
        yield name.get()

    started = streams.start_in_thread(conv_id, source)
    assert b''.join(started.follow()) == b'data: alice\n\n'


def test_a_caller_that_is_cancelled_changes_nothing(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has left while the supervisor made the stream."""
    asked, go = threading.Event(), threading.Event()
    request = streams._process.link.client.request

    def slow(op: str, **fields: Any) -> Any:
        asked.set()
        assert go.wait(20)
        return request(op, **fields)

    monkeypatch.setattr(streams._process.link.client, 'request', slow)

    async def work() -> bytes:
        task = asyncio.create_task(streams.start(conv_id, on_a_loop()))
        await asyncio.to_thread(asked.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        while not running.here.all() and not streams.lookup([conv_id]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        follower = streams.open(conv_id).follow()
        return b''.join([chunk async for chunk in follower])

    assert on_loop(work) == WHOLE


def test_the_code_after_the_last_event_runs(streams: Streams, conv_id: str) -> None:
    """Readers have their end already, and what the source does then is not cut off."""
    go, stored = threading.Event(), threading.Event()

    def source(_: object) -> Iterator[Any]:
        yield 'a'
        yield b'data: [DONE]\n\n'
        assert go.wait(20)
        yield 'dropped'
        stored.set()

    started = streams.start_in_thread(conv_id, source)
    assert b''.join(started.follow()) == b'data: a\n\ndata: [DONE]\n\n'
    go.set()
    assert started.join(20)
    assert stored.is_set()


def test_a_source_that_never_waits_leaves_the_loop_turns(
    streams: Streams, conv_id: str
) -> None:
    turns = 0

    async def greedy() -> AsyncIterator[str]:
        for number in range(2000):
            yield text(number)

    async def work() -> bytes:
        nonlocal turns
        started = await streams.start(conv_id, greedy())
        while not started.consumer.finished:
            turns += 1
            await asyncio.sleep(0)
        return b''.join([chunk async for chunk in started.follow()])

    assert on_loop(work) == whole(2000)
    assert turns > 10


def test_the_end_of_the_loop_ends_its_productions(
    streams: Streams, conv_id: str
) -> None:
    async def silent() -> AsyncIterator[str]:
        yield 'a'
        await asyncio.Event().wait()

    async def work() -> Any:
        started = await streams.start(conv_id, silent())
        await anext(started.follow())
        return started

    started = on_loop(work)
    assert started.consumer.state is State.ABORTED
    assert b'the producer is shutting down' in started.consumer.read()
    assert not running.here.all()


def test_no_call_blocks_an_event_loop(streams: Streams, tmp_path: Path) -> None:
    directory = streams._process.directory.path
    with Child(actors.guarded, directory, tmp_path) as child:
        assert child.hear() == ''
