"""What a process is told of its life, whatever server runs it."""

from __future__ import annotations

import asyncio

from shmstream.deploy.worker_life import WorkerLife


def test_a_server_s_own_event_is_heard_on_a_second_loop_too() -> None:
    """Also if the first loop has closed without it."""
    life = WorkerLife()

    async def serve(stops: bool) -> None:
        terminated = asyncio.Event()
        life.hear_word(terminated.wait)
        life.hear_word(terminated.wait)
        if stops:
            terminated.set()
        await asyncio.sleep(0.01)

    asyncio.run(serve(False))
    assert not life.leaving()
    asyncio.run(serve(True))
    assert life.leaving()
