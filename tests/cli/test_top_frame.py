"""The rates of ``top``, whatever happens to the wall clock."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from shmstream.cli import top_frame


class Empty:
    """A place without streams and without numbers."""

    def sessions(self, _count: Any) -> list[Any]:
        return []

    def reading(self) -> Any:
        raise OSError('there are none')


def test_a_clock_that_is_set_back_keeps_no_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall, seconds = itertools.count(1e9, -100.0), itertools.count(0.0, 0.5)
    clocks = SimpleNamespace(time=lambda: next(wall), monotonic=lambda: next(seconds))
    monkeypatch.setattr('shmstream.cli.top_frame.time', clocks)
    looks = top_frame.Looks(Empty())  # type: ignore[arg-type]
    for _ in range(50):
        assert looks.look().reading is None
    assert len(looks._before) <= 4
