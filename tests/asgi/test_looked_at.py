"""Responses as a worker looks at them: over a Unix socket, and one of many."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shmstream.asgi.stalled import Reader, Readers

LOOKS = 3
WAIT_S = 30


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on a loop of its own, within a bound."""

    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await test()

    asyncio.run(bounded())


def looked_at(reader: Reader, times: int) -> bool:
    """Whether it is still there after as many looks."""
    return all(reader.look(LOOKS, 60) for _ in range(times))


class Cycle:
    """A server's half of a response, with a transport of its own as uvicorn's."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None:
        self.transport.write(message)


@contextlib.asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[Reader, socket.socket, Any]]:
    """A response over a Unix socket, its client and its transport."""
    made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The writer: from Python 3.13 on it closes the transport when nobody holds it.
        made.set_result(writer)

    server = await asyncio.start_unix_server(accept, str(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        writer = await made
        transport = writer.transport
        try:
            yield Reader(Cycle(transport).send), client, transport
        finally:
            transport.abort()
            server.close()
            await server.wait_closed()


def test_over_a_unix_socket_who_takes_nothing_is_cut(tmp_path: Path) -> None:
    async def test() -> None:
        async with connected(tmp_path / 'socket') as (reader, _client, transport):
            assert looked_at(reader, 2 * LOOKS), 'nothing waits for it'
            await reader.send(bytes(8 << 20))
            # The first look sees that something has changed.
            assert looked_at(reader, LOOKS + 1)
            assert not reader.look(LOOKS, 60)
            assert transport.is_closing()

    run(test)


def test_over_a_unix_socket_who_takes_some_is_not_cut(tmp_path: Path) -> None:
    async def test() -> None:
        async with connected(tmp_path / 'socket') as (reader, client, transport):
            await reader.send(bytes(8 << 20))
            for _ in range(3):
                assert looked_at(reader, LOOKS)
                waiting = transport.get_write_buffer_size()
                while transport.get_write_buffer_size() == waiting:
                    client.recv(1 << 16)
                    await asyncio.sleep(0)
            assert not transport.is_closing()

    run(test)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with Connection() as made:
        yield made


@pytest.mark.parametrize('shared', [False, True], ids=['unseen', 'shared'])
def test_one_of_many_is_cut_alone(connection: Connection, shared: bool) -> None:
    # Its transport is another one's as well, or is not to be seen: the task ends.
    async def test() -> None:
        window = asyncio.Event()
        send = connection.response(window) if shared else window_of(window)
        reader, task = await made_in_a_task(send)
        # From the hub's turn, not from its task: see ``Follower.deliver``.
        sending = reader.send(b'x')
        sending.send(None)
        assert looked_at(reader, LOOKS + 1)
        assert not reader.look(LOOKS, 60)
        with pytest.raises(asyncio.CancelledError):
            await task
        sending.close()
        assert not connection.aborted

    run(test)


def test_a_shared_connection_that_takes_nothing_is_cut_as_a_whole(
    connection: Connection,
) -> None:
    async def test() -> None:
        window = asyncio.Event()
        window.set()
        reader = Reader(connection.response(window))
        await reader.send(b'x')
        assert looked_at(reader, LOOKS + 1)
        assert not reader.look(LOOKS, 60)
        assert connection.aborted

    run(test)


def test_a_stream_that_is_gone_does_not_cut_what_it_shares_with(
    connection: Connection,
) -> None:
    class Gone:
        evicted = True

    async def test() -> None:
        window = asyncio.Event()
        window.set()
        connection.waiting = 0
        reader, task = await made_in_a_task(connection.response(window))
        reader.source = Gone()  # type: ignore[assignment]
        assert looked_at(reader, LOOKS)
        assert not reader.look(LOOKS, 60)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.aborted

    run(test)


def test_what_shares_its_connection_is_sent_in_its_task(
    connection: Connection,
) -> None:
    """From Python 3.12 on gunicorn's ``send`` for HTTP/2 works nowhere else."""

    async def test() -> None:
        sends = [connection.response(asyncio.Event()), window_of(asyncio.Event())]
        for send in sends:
            send.__module__ = 'gunicorn.asgi.protocol'
        assert [Reader(send).in_task for send in sends] == [True, False]

    run(test)


async def made_in_a_task(send: Any) -> tuple[Reader, asyncio.Task[None]]:
    """A response, and the task that sends it, which goes on until it is cancelled."""
    made: asyncio.Future[Reader] = asyncio.get_running_loop().create_future()

    async def respond() -> None:
        made.set_result(Reader(send))
        await asyncio.sleep(WAIT_S)

    task = asyncio.create_task(respond())
    return await made, task


def window_of(window: asyncio.Event) -> Any:
    """A ``send`` that waits for a window."""

    async def send(_: Any) -> None:
        await window.wait()

    return send


class Connection:
    """An HTTP/2 connection as gunicorn has it, with bytes that nobody takes."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False
        self.waiting = 1000
        self._sock, self._peer = socket.socketpair()

    def response(self, window: asyncio.Event) -> Any:
        """The ``send`` of one of its streams; it knows the names in its closure."""
        h2_conn, stream_id = object(), 1

        async def send(_: Any) -> None:
            assert self is not h2_conn
            assert stream_id
            await window.wait()

        return send

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()
        self._peer.close()

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, _: str) -> socket.socket:
        return self._sock

    def abort(self) -> None:
        self.aborted = True


def test_readers_are_looked_at_on_each_event_loop() -> None:
    """Also if a loop before has closed while responses were under way."""
    readers = Readers(timeout_s=0.1)
    cut: list[bool] = []

    async def left_open() -> None:
        readers.enter(window_of(asyncio.Event()))

    async def stalled() -> None:
        reader = readers.enter(window_of(asyncio.Event()))
        try:
            await reader.send(b'x')
        except asyncio.CancelledError:
            cut.append(True)
        readers.leave(reader)

    run(left_open)
    run(stalled)
    run(stalled)
    assert cut == [True, True]
    assert len(readers) == 0


def test_readers_of_loops_at_the_same_time_are_all_looked_at() -> None:
    readers = Readers(timeout_s=0.1)
    both = threading.Barrier(2)
    cut: list[bool] = []

    async def stalled() -> None:
        reader = readers.enter(window_of(asyncio.Event()))
        both.wait(WAIT_S)
        try:
            await reader.send(b'x')
        except asyncio.CancelledError:
            cut.append(True)
        readers.leave(reader)

    threads = [threading.Thread(target=run, args=(stalled,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cut == [True, True]
    assert len(readers) == 0


def test_readers_of_a_closed_loop_hold_no_stream() -> None:
    """From when another loop has a response."""

    class Source:
        evicted = False

    readers = Readers(timeout_s=60)
    held: list[weakref.ref[Source]] = []

    async def left_open() -> None:
        reader = readers.enter(window_of(asyncio.Event()))
        source = Source()
        held.append(weakref.ref(source))
        reader.source = source  # type: ignore[assignment]

    async def another() -> None:
        readers.leave(readers.enter(window_of(asyncio.Event())))

    run(left_open)
    run(another)
    gc.collect()
    assert held[0]() is None
