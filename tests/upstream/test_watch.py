"""The clocks of reads: what waits in vain is failed, and nothing else."""

from __future__ import annotations

import asyncio

from shmstream.upstream.watch import Watch

SILENCE_S = 0.2
WAIT_S = 20.0


class Body:
    """A read as a test says how it is."""

    def __init__(self, waits: bool = True, lost: bool = False) -> None:
        self.steps = 0
        self.is_waiting = waits
        self.is_lost = lost
        self.looks = 0
        self.failed: list[str] = []
        self.over = asyncio.Event()

    def waits(self) -> bool:
        self.looks += 1
        return self.is_waiting

    def lost(self) -> bool:
        return self.is_lost

    def fail(self, silent: bool) -> None:
        self.failed.append('silent' if silent else 'lost')
        self.over.set()


async def failed(body: Body, silence_s: float) -> Body:
    watch = Watch(silence_s)
    watch.enter(body)
    try:
        async with asyncio.timeout(WAIT_S):
            await body.over.wait()
    finally:
        watch.close()
    return body


def test_a_read_whose_connection_has_gone_is_failed() -> None:
    async def run() -> None:
        assert (await failed(Body(lost=True), 3600)).failed == ['lost']

    asyncio.run(run())


def test_a_read_that_waits_too_long_is_failed() -> None:
    async def run() -> None:
        assert (await failed(Body(), SILENCE_S)).failed == ['silent']

    asyncio.run(run())


def test_a_read_that_gets_on_or_does_not_wait_is_left_alone() -> None:
    async def run() -> None:
        watch = Watch(SILENCE_S)
        idle, going = Body(waits=False), Body()
        idle.is_lost = True
        watch.enter(idle)
        watch.enter(going)
        async with asyncio.timeout(WAIT_S):
            while idle.looks < 12:
                # Before each look at it: it never waits through two of them.
                going.steps += 1
                await asyncio.sleep(0)
        assert idle.failed == going.failed == []
        watch.close()

    asyncio.run(run())


def test_one_that_cannot_be_looked_at_takes_no_other_with_it() -> None:
    class Bad(Body):
        def waits(self) -> bool:
            raise RuntimeError('as a test wants it')

    async def run() -> None:
        watch = Watch(SILENCE_S)
        bad, good = Bad(), Body()
        watch.enter(bad)
        watch.enter(good)
        async with asyncio.timeout(WAIT_S):
            await good.over.wait()
        assert bad.failed == []
        watch.leave(bad)
        watch.close()

    asyncio.run(run())
