"""Stopping from another process, while the source is silent."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shmstream import State, StreamNotFound, Streams
from tests.api.following import on_loop
from tests.producing import actors
from tests.producing.scripted import Gate, whole
from tests.support.child import Child
from tests.support.leaks import wait_until

WAYS = {
    actors.on_a_loop: 'CancelledError',
    actors.in_a_thread: 'saw it',
}


@pytest.mark.parametrize(('start', 'how'), WAYS.items())
@pytest.mark.parametrize('evict', [False, True])
def test_a_silent_source_is_stopped_from_another_process(
    streams: Streams,
    tmp_path: Path,
    start: Callable[..., None],
    how: str,
    evict: bool,
) -> None:
    """1. The source waits. 2. Another process stops it. 3. Its readers have an end.

    The text stays, unless the stream is evicted as well.
    """
    directory = streams._process.directory.path
    with Child(start, directory, tmp_path, 'sse') as child:
        generation = child.hear()
        consumer = streams.open('a')
        follower = consumer.follow()
        assert next(follower) == whole(1)
        assert not streams.stop('a', generation='0' * 16)
        assert streams.stop('a', generation=generation, evict=evict)
        # No ``FollowCut``: the end is the stream's own.
        assert list(follower) == []
        assert consumer.state is State.CANCELLED
        assert consumer.finished
        assert child.hear() == 'cancelled'
        assert Gate(tmp_path, 'a').closed() == how
        if evict:
            with pytest.raises(StreamNotFound):
                streams.open('a')
        else:
            assert streams.open('a').read() == whole(1)
            assert streams.lookup(['a'])[0]['state'] == 'cancelled'
        child.say('end')
    streams.evict('a')


def test_a_silent_producer_of_one_s_own_is_stopped_too(
    streams: Streams, tmp_path: Path
) -> None:
    directory = streams._process.directory.path
    with Child(actors.by_hand, directory, tmp_path, '') as child:
        child.hear()
        consumer = streams.open('a')
        follower = consumer.follow()
        assert next(follower) == whole(1)
        assert streams.stop('a')
        assert list(follower) == []
        assert (consumer.state, consumer.finished) == (State.CANCELLED, True)
        child.say('write')
        assert child.hear() is False
        child.say('end')
    assert consumer.read() == whole(1)
    streams.evict('a')


def test_a_stop_is_told_in_the_stream_s_language(
    streams: Streams, tmp_path: Path
) -> None:
    directory = streams._process.directory.path
    with Child(actors.on_a_loop, directory, tmp_path, 'ui') as child:
        child.hear()
        follower = streams.open('a').follow()
        first = next(follower)
        assert streams.stop('a')
        data = first + b''.join(follower)
        child.hear()
        child.say('end')
    assert data.endswith(
        b'data: {"type":"abort","reason":"stopped"}\n\ndata: [DONE]\n\n'
    )
    streams.evict('a')


def test_an_event_loop_stops_without_blocking(streams: Streams, conv_id: str) -> None:
    closed = threading.Event()

    async def silent() -> AsyncIterator[str]:
        try:
            yield 'a'
            await asyncio.Event().wait()
        finally:
            # A source may wait while it is closed.
            await asyncio.sleep(0)
            closed.set()

    async def work() -> None:
        started = await streams.start(conv_id, silent())
        follower = started.follow()
        assert await anext(follower) == b'data: a\n\n'
        assert await streams.astop(conv_id)
        assert [chunk async for chunk in follower] == []
        assert await started.ajoin(20)
        assert closed.is_set()
        assert not await streams.astop('never')

    on_loop(work)


def test_a_source_that_catches_its_cancellation_is_closed(
    streams: Streams, conv_id: str
) -> None:
    how: list[str] = []

    async def stubborn() -> AsyncIterator[str]:
        try:
            while True:
                yield 'a'
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    how.append('caught')
        except GeneratorExit:
            how.append('closed')
            raise

    async def work() -> bytes:
        started = await streams.start(conv_id, stubborn())
        follower = started.follow()
        data = await anext(follower)
        await streams.astop(conv_id)
        data += b''.join([chunk async for chunk in follower])
        assert await started.ajoin(20)
        return data

    assert on_loop(work) == b'data: a\n\n'
    assert how == ['caught', 'closed']


def test_a_generator_in_a_thread_is_closed_after_its_step(
    streams: Streams, conv_id: str
) -> None:
    """Its step cannot be interrupted; its readers do not wait for it."""
    go, how = threading.Event(), []

    def source() -> Iterator[str]:
        try:
            yield 'a'
            assert go.wait(20)
            yield 'b'
        except GeneratorExit:
            how.append('closed')
            raise

    # Kept here, so that it is not closed because nobody has it any more.
    generator = source()
    started = streams.start_in_thread(conv_id, generator)
    follower = started.follow()
    assert next(follower) == b'data: a\n\n'
    assert streams.stop(conv_id)
    assert list(follower) == []
    assert not started.join(0)
    go.set()
    assert started.join(20)
    assert how == ['closed']
    assert next(generator, None) is None
    assert started.consumer.read() == b'data: a\n\n'


def test_a_new_stream_stops_the_source_of_the_one_that_it_replaces(
    streams: Streams, conv_id: str
) -> None:
    seen = threading.Event()

    def source(cancelled: threading.Event) -> Iterator[str]:
        yield 'a'
        assert cancelled.wait(20)
        seen.set()

    old = streams.start_in_thread(conv_id, source)
    new = streams.start_in_thread(conv_id, ['b'])
    assert seen.wait(20)
    assert old.join(20)
    assert old.consumer.state is State.CANCELLED
    assert b''.join(new.follow()) == b'data: b\n\n'


def test_nothing_is_kept_of_a_production_that_has_ended(
    streams: Streams, conv_id: str
) -> None:
    class Source:
        def __iter__(self) -> Iterator[Any]:
            return iter(['a'])

    source = Source()
    gone = weakref.ref(source)
    started = streams.start_in_thread(conv_id, source)
    assert started.join(20)
    del source, started

    def collected() -> bool:
        gc.collect()
        return gone() is None

    assert wait_until(collected)
