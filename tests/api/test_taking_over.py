"""A stream that is opened while another one takes over its id."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from shmstream import StreamNotFound, Streams
from tests.support.leaks import wait_until


def after_the_look(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen when the next file has been looked up, and not yet used."""
    lstat = os.lstat

    def look(path: Any) -> os.stat_result:
        found = lstat(path)
        monkeypatch.setattr(os, 'lstat', lstat)
        act()
        return found

    monkeypatch.setattr(os, 'lstat', look)


def test_the_successor_of_what_is_replaced_meanwhile_is_found(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = streams.create(conv_id)
    new = []
    after_the_look(monkeypatch, lambda: new.append(streams.create(conv_id)))
    found = streams.open(conv_id)
    assert old._segment.evicted
    assert [found.generation] == [each.generation for each in new]


def test_what_was_kept_and_comes_back_meanwhile_is_found(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = streams.create(conv_id)
    kept.finish()
    pending = streams.create(conv_id, pending=True)

    def end_without_beginning() -> None:
        pending.cancel()
        assert wait_until(lambda: pending._segment.evicted)

    after_the_look(monkeypatch, end_without_beginning)
    assert streams.open(conv_id).generation == kept.generation


def test_what_is_evicted_meanwhile_is_not_found(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is mapped here, so the look leads to it even if its file has gone.
    kept = streams.create(conv_id)
    kept.finish()
    after_the_look(monkeypatch, lambda: streams.evict(conv_id))
    with pytest.raises(StreamNotFound):
        streams.open(conv_id)
