"""The look for listeners goes on after an error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shmstream.http import listeners
from shmstream.http.listeners import cancel_unheard
from shmstream.logs.cause import Cause

FAILS = 3


class Unsure:
    """A producer that cannot tell for a while who listens: nobody does.

    Attributes:
        looks: how often it has been asked.
    """

    generation = '0' * 16

    def __init__(self) -> None:
        self.looks = 0
        self.cancelled = False

    @property
    def followers(self) -> int:
        self.looks += 1
        if self.looks <= FAILS:
            raise OSError('as a test wants it')
        return 0

    def _ends_by(self, cause: Cause) -> None:
        assert cause is Cause.UNHEARD

    def cancel(self) -> None:
        self.cancelled = True


def test_an_error_does_not_end_the_look_for_listeners(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listeners, '_LOOK_S', 0.01)
    monkeypatch.setattr(listeners, '_HANDOVER_S', 0.05)
    producer = Unsure()

    async def run() -> None:
        watched: Any = producer
        async with asyncio.timeout(20):
            await cancel_unheard(watched, lambda: False, 0.0)

    asyncio.run(run())
    assert producer.cancelled
    assert producer.looks > FAILS
    told = [r for r in caplog.records if 'listens' in r.getMessage() and r.exc_info]
    assert len(told) == 1, 'the log is not filled with it'
