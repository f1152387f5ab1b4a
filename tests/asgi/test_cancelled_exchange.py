"""A server that cancels a call, and again while the call ends."""

from __future__ import annotations

import asyncio
from typing import Any

from shmstream.asgi.other_servers import exchange
from shmstream.asgi.stalled import Readers
from tests.api.following import on_loop


def test_a_call_that_is_cancelled_twice_leaves_no_watcher() -> None:
    """anyio's cancel scopes cancel until the task has left them."""
    noted: list[str] = []

    async def work() -> None:
        begun, ending, may_end, ended = (asyncio.Event() for _ in range(4))

        async def receive() -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                noted.append('watcher')

        async def send(message: Any) -> None: ...

        async def handler(*_: Any) -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                ending.set()
                await may_end.wait()
                ended.set()

        scope = {'type': 'http', 'method': 'GET', 'headers': []}
        call = asyncio.ensure_future(
            exchange(handler, Readers(60.0), scope, receive, send)
        )
        await begun.wait()
        call.cancel()
        await ending.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert noted == ['watcher']
        may_end.set()
        await ended.wait()

    on_loop(work)
