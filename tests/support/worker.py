"""A process of a deployment that does what a test tells it to.

It attaches to a runtime directory and takes orders, one at a time. ``stream`` and
``follow`` go on in threads; ``join`` waits for a thread and returns what it has seen.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from shmstream import Follower, Producer, ShmstreamError, Streams
from shmstream.deploy.worker_life import WorkerLife
from tests.support.child import WAIT_S, Child, hear, say


def line(number: int) -> bytes:
    """The event that a streaming worker writes as its ``number``-th."""
    return b'data: %08d\n\n' % number


class _Thread(threading.Thread):
    """Keeps what its function returns."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._arguments = arguments
        self.found: Any = None
        self.start()

    def run(self) -> None:
        self.found = self._function(*self._arguments)


class _Orders:
    """What a worker can be told."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._producers: dict[str, Producer] = {}
        self._stopping = threading.Event()
        self._followers: dict[str, Follower] = {}
        self._threads: dict[str, _Thread] = {}

    def attached(self) -> dict[str, Any]:
        self._streams.connect()
        now = self._streams._process.holder.require()
        return {'pid': os.getpid(), 'slot': now.slot, 'epoch': now.epoch}

    def create(self, conv_id: str, options: dict[str, Any]) -> str:
        producer = self._producers[conv_id] = self._streams.create(conv_id, **options)
        return producer.generation

    def note_cancel(self, conv_id: str) -> None:
        """Have ``join cancel:ID`` return when the stop hook was called."""
        noticed = threading.Event()
        at: list[float] = []

        def hook() -> None:
            at.append(time.monotonic())
            noticed.set()

        def wait() -> float:
            assert noticed.wait(WAIT_S)
            return at[0]

        self._producers[conv_id].on_cancel(hook)
        self._threads[f'cancel:{conv_id}'] = _Thread(wait)

    def write(self, conv_id: str, text: str) -> bool:
        return self._producers[conv_id].write(text.encode())

    def finish(self, conv_id: str) -> str:
        self._producers[conv_id].finish()
        return self._producers[conv_id].state.label

    def listeners(self, conv_id: str) -> int:
        return self._producers[conv_id].followers

    def stream(self, conv_id: str, interval_s: float) -> None:
        self._threads[conv_id] = _Thread(self._stream, conv_id, interval_s)

    def _stream(self, conv_id: str, interval_s: float) -> int:
        producer = self._producers[conv_id]
        number = 0
        while not self._stopping.wait(interval_s) and producer.write(line(number)):
            number += 1
        producer.finish()
        return number

    def stop(self) -> None:
        """Have all that streams come to its end."""
        self._stopping.set()

    def follow(self, conv_id: str, offset: int) -> None:
        follower = self._streams.open(conv_id).follow(offset)
        self._followers[conv_id] = follower
        self._threads[f'follow:{conv_id}'] = _Thread(self._follow, follower)

    def _follow(self, follower: Follower) -> dict[str, Any]:
        data, error = b'', None
        try:
            for chunk in follower:
                data += chunk
        except ShmstreamError as ex:
            error = f'{type(ex).__name__}: {ex}'
        return {'data': data.decode(), 'error': error, 'ended': time.monotonic()}

    def followed_to(self, conv_id: str) -> int:
        """The offset that a follower has come to."""
        return self._followers[conv_id].offset

    def join(self, name: str) -> Any:
        thread = self._threads[name]
        thread.join(WAIT_S - 5)
        assert not thread.is_alive(), f'{name} does not end'
        return thread.found

    def state(self, conv_id: str) -> str:
        return self._streams.open(conv_id).state.label

    def stop_generation(self, op: str, conv_id: str, generation: str | None) -> bool:
        found: bool = getattr(self._streams, op)(conv_id, generation=generation)
        return found

    def sessions(self) -> list[str]:
        return [each['conversation_id'] for each in self._streams.list()]

    def control(self, op: str, arguments: list[Any]) -> Any:
        return getattr(self._streams, op)(*arguments)


class _UnderGunicorn:
    """What is known of a gunicorn worker: its parent is the master."""

    def __init__(self) -> None:
        self.alive = True
        self.ppid = os.getppid()
        self.cfg = None

    def notify(self) -> None:
        pass


def serve(directory: str, deployed: bool) -> None:
    """Take orders until told to leave."""
    host = WorkerLife()
    if deployed:
        host.worker = _UnderGunicorn()
    with Streams.attach(directory, host=host) as streams:
        orders = _Orders(streams)
        say('ready')
        while (order := hear()) is not None:
            name, arguments = order
            try:
                say(['done', getattr(orders, name)(*arguments)])
            except Exception as ex:
                say(['failed', f'{type(ex).__name__}: {ex}'])


class OrderFailed(Exception):
    """The worker raised; the text says what."""


class Worker:
    """A worker as the test sees it. Use it as a context manager.

    Args:
        directory: the runtime directory.
        deployed: it is like a gunicorn worker whose master is this process: it starts
            a supervisor when there is none.
    """

    def __init__(self, directory: Path, deployed: bool = True) -> None:
        self._child = Child(serve, directory, deployed)

    @property
    def pid(self) -> int:
        """The process."""
        return self._child.pid

    def order(self, name: str, *arguments: Any) -> Any:
        """Give an order and wait for what it returns."""
        self._child.say([name, arguments])
        outcome, found = self._child.hear()
        if outcome == 'failed':
            raise OrderFailed(found)
        return found

    def create(self, conv_id: str, **options: Any) -> str:
        """Create a stream; returns its generation."""
        generation: str = self.order('create', conv_id, options)
        return generation

    def follow(self, conv_id: str, offset: int = 0) -> None:
        """Follow a stream in a thread."""
        self.order('follow', conv_id, offset)

    def followed(self, conv_id: str) -> Any:
        """Wait for the follower's end; returns its data, error and time."""
        return self.order('join', f'follow:{conv_id}')

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()

    def __enter__(self) -> Self:
        try:
            assert self._child.hear() == 'ready'
        except BaseException as ex:
            self._child.__exit__(type(ex))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and not self._child.killed:
            self._child.say(None)
        self._child.__exit__(kind, *rest)
