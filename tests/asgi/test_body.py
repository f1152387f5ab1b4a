"""A request's body comes in time, by a clock of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from shmstream.asgi.body import read_body
from shmstream.asgi.body_pace import LEAST_RATE
from shmstream.asgi.stalled import looks_in
from shmstream.serving.problems import Problem

WAIT_S = 10.0
PIECES = 5


def read_in_steps(piece: bytes) -> bytes:
    """Read a body of which a piece comes each five seconds."""

    async def read() -> bytes:
        loop: Any = asyncio.get_running_loop()
        now, left = loop.time(), PIECES
        loop.time = lambda: now

        async def receive() -> Any:
            nonlocal now, left
            looks = looks_in(WAIT_S)
            for _ in range(looks // 2):
                # A timer that has been set late is not yet due at its time.
                now += WAIT_S / looks + loop._clock_resolution
                for _ in range(3):
                    await asyncio.sleep(0)
            left -= 1
            return {'type': 'http.request', 'body': piece, 'more_body': left > 0}

        return await read_body(receive, 1 << 20, WAIT_S)

    return asyncio.run(read())


def test_a_client_that_keeps_sending_has_the_time_that_it_needs() -> None:
    piece = bytes(6 * LEAST_RATE)
    assert read_in_steps(piece) == piece * PIECES


def test_a_client_that_sends_too_slowly_has_not() -> None:
    with pytest.raises(Problem, match='too slowly'):
        read_in_steps(b'x')


def test_a_body_ends_in_time_if_the_cancellation_of_its_read_is_lost() -> None:
    """Under Python 3.11 ``asyncio.wait_for`` loses it, in which gunicorn waits."""
    came = 0

    async def receive() -> Any:
        nonlocal came
        came += 1
        with contextlib.suppress(asyncio.CancelledError):
            if came == 1:
                await asyncio.Event().wait()
        return {'type': 'http.request', 'body': b'x', 'more_body': came < 9}

    with pytest.raises(Problem, match='too slowly'):
        asyncio.run(read_body(receive, 99, 0.01))
    assert came == 1
