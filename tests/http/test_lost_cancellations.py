"""Bodies end in time even if a cancellation of their read is lost.

Under Python 3.11 that happens in gunicorn's server: see ``asgi.body_pace``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shmstream.http.announcing import Announcing
from shmstream.http.passing_through import body_of
from shmstream.http.uploads import Uploads
from shmstream.serving.problems import Problem

PIECE = b' ' * 1000
MOST = 50


class Losing:
    """The body of a request: one read is cancelled, and gives a piece all the same.

    Attributes:
        pieces: how many pieces have been given.

    Args:
        first: is given before that.
    """

    def __init__(self, *first: bytes) -> None:
        self._first = first
        self.pieces = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._first:
            self.pieces += 1
            yield piece
        for number in range(MOST):
            if not number:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
            self.pieces += 1
            yield PIECE


def request(stream: Losing) -> Any:
    return SimpleNamespace(
        context=SimpleNamespace(owner=b'o'),
        content_length=len(PIECE) * MOST,
        get_header=lambda _name: None,
        gone=False,
        stream=stream,
    )


def test_the_time_of_a_small_body_that_is_passed_through_is_over() -> None:
    stream = Losing()

    async def read() -> None:
        async with asyncio.timeout(20):
            await body_of(request(stream), 0.05)

    with pytest.raises(Problem) as raised:
        asyncio.run(read())
    assert raised.value.status == 408
    assert stream.pieces == 1


class Stopped:
    """An answer task that is stopped soon after it has begun."""

    def __init__(self) -> None:
        self.failed = False

    def on_failure(self, action: Callable[[], object]) -> None:
        def fail() -> None:
            self.failed = True
            action()

        asyncio.get_running_loop().call_soon(fail)

    async def answer(self) -> None:
        raise Problem(400, 'request cancelled')

    def withdraw(self) -> None:
        """Nothing is there."""


def test_a_stop_during_an_upload_ends_the_upload() -> None:
    stream = Losing(b'{"stream": true')
    req = request(stream)
    req.content_length = None

    async def look(_piece: bytes) -> None:
        """Nothing to find."""

    async def read() -> None:
        conversation: Any = SimpleNamespace(announced='c', look=look)
        task: Any = Stopped()
        uploads = Uploads(1 << 20, None, 60.0)
        async with asyncio.timeout(20):
            await Announcing(uploads, conversation, lambda _: task).read(req, 1 << 20)

    with pytest.raises(Problem, match='request cancelled'):
        asyncio.run(read())
    assert stream.pieces == 2
