"""The drain: when productions are aborted, and how long the process waits for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from shmstream import Started, State, Streams
from shmstream.producing.drain import Drain
from shmstream.producing.running import Running, here
from tests.api.following import on_loop
from tests.support.leaks import wait_until


class Life:
    """A life that a test decides on."""

    def __init__(self) -> None:
        self.left = self.stops = False
        self.graceful_timeout = 10.0
        self.master: list[int] | None = [1]
        self.notified = 0

    def leaving(self) -> bool:
        return self.left

    def stopping(self) -> bool:
        return self.stops

    def masters(self) -> list[int] | None:
        return self.master

    def notify(self) -> None:
        self.notified += 1


@pytest.fixture(autouse=True)
def _undrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another test has told this process of its life."""
    monkeypatch.setattr(here, 'drain', None)


@pytest.fixture
def life() -> Life:
    return Life()


@pytest.fixture
def silent(streams: Streams, conv_id: str) -> Iterator[Started]:
    """A production that waits until it is stopped."""

    def source(cancelled: threading.Event) -> Iterator[str]:
        yield 'a'
        cancelled.wait(60)

    started = streams.start_in_thread(conv_id, source)
    yield started
    streams.stop(conv_id)
    assert started.join(20)


def test_nothing_happens_before_the_process_leaves(life: Life, silent: Started) -> None:
    drain = Drain(life, 0, here.all)
    drain.look()
    assert silent.consumer.state is State.LIVE
    assert not life.notified


def test_productions_go_on_while_the_process_leaves(
    life: Life, silent: Started
) -> None:
    life.left = True
    drain = Drain(life, 3600, here.all)
    drain.look()
    assert silent.consumer.state is State.LIVE
    assert life.notified == 1


def test_they_are_aborted_after_the_limit(life: Life, silent: Started) -> None:
    life.left = True
    Drain(life, 0, here.all).look()
    assert silent.consumer.state is State.ABORTED
    assert b'the producing worker has shut down' in silent.consumer.read()


def test_they_are_aborted_before_a_stopping_master_kills_them(
    life: Life, silent: Started
) -> None:
    life.left = life.stops = True
    life.graceful_timeout = 0.0
    Drain(life, 3600, here.all).look()
    assert silent.consumer.state is State.ABORTED


def test_a_server_that_ends_unasked_waits_as_long(life: Life, silent: Started) -> None:
    """Without a master: nobody says how long it may take."""
    life.master, life.graceful_timeout = None, 0.0
    Drain(life, 3600, here.all).finish()
    assert silent.consumer.state is State.ABORTED


def test_a_worker_that_makes_room_lets_them_end(
    life: Life, streams: Streams, silent: Started
) -> None:
    life.graceful_timeout = 0.0
    finish = threading.Thread(target=Drain(life, 3600, here.all).finish)
    finish.start()
    assert wait_until(lambda: life.notified > 1)
    assert silent.consumer.state is State.LIVE
    streams.stop(silent.conv_id)
    finish.join(20)
    assert not finish.is_alive()


def test_a_source_that_does_not_stop_is_not_waited_for(
    life: Life, streams: Streams, conv_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    go = threading.Event()

    def deaf(_: object) -> Iterator[str]:
        yield 'a'
        assert go.wait(60)

    started = streams.start_in_thread(conv_id, deaf)
    life.left = True
    Drain(life, 0, here.all).finish()
    assert started.consumer.state is State.ABORTED
    assert '1 sources have not stopped' in caplog.text
    go.set()
    assert started.join(20)


def test_an_event_loop_waits_without_blocking(
    life: Life, streams: Streams, conv_id: str
) -> None:
    async def source() -> Any:
        yield 'a'
        for _ in range(5):
            await asyncio.sleep(0.01)
        yield 'b'

    async def work() -> Started:
        started = await streams.start(conv_id, source())
        life.left = True
        await Drain(life, 3600, here.all).finish_async()
        return started

    assert on_loop(work).consumer.state is State.COMPLETE


def test_a_process_that_has_to_end_at_once_does(
    life: Life, streams: Streams, silent: Started
) -> None:
    async def work() -> None:
        life.left = True
        looks = iter([False, True])
        drain = Drain(life, 3600, here.all)
        await drain.finish_async(lambda: next(looks, True))

    on_loop(work)
    assert silent.consumer.state is State.ABORTED


def test_a_thread_looks_while_anything_runs(life: Life, silent: Started) -> None:
    """And ends with the last production."""
    (production,) = here.all()
    running = Running()
    running.drained_by(life, 3600)
    running.add(production)

    def looks() -> bool:
        return any(t.name == 'shmstream-drain' for t in threading.enumerate())

    assert wait_until(looks)
    life.left = True
    assert wait_until(lambda: life.notified > 0)
    running.remove(production)
    assert wait_until(lambda: not looks())


def test_without_a_drain_no_thread_looks(silent: Started) -> None:
    (production,) = here.all()
    before = set(threading.enumerate())
    running = Running()
    running.add(production)
    assert not set(threading.enumerate()) - before


def test_a_source_that_is_being_closed_is_not_interrupted_again(
    life: Life, streams: Streams, conv_id: str
) -> None:
    """A drain looks again and again until the last source is closed."""
    interrupted: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield 'a'
            await asyncio.sleep(60)
        finally:
            try:
                for _ in range(20):
                    drain.look()
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                interrupted.append('again')
                raise

    async def run() -> None:
        started = await streams.start(conv_id, source())
        async for _ in started.follow():
            break
        drain.look()
        assert await started.ajoin(20)

    life.left = True
    drain = Drain(life, 0.0, here.all)
    asyncio.run(run())
    assert not interrupted


def test_a_production_is_not_held_if_no_thread_can_look(
    life: Life, silent: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    (production,) = here.all()
    running = Running()
    running.drained_by(life, 1.0)

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', no_thread)
        with pytest.raises(RuntimeError):
            running.add(production)
    assert len(running) == 0
    running.add(production)
    assert len(running) == 1
    running.remove(production)


def test_the_master_hears_of_no_process_whose_sources_never_stop(
    life: Life, silent: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a blocked worker would stay, with all its streams."""
    life.left = True
    drain = Drain(life, 0.0, here.all)
    drain.look()
    heard, now = life.notified, time.monotonic()
    assert heard
    monkeypatch.setattr('shmstream.producing.drain.time.monotonic', lambda: now + 60)
    drain.look()
    assert life.notified == heard
