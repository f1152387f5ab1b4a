"""A worker that leaves is added up exactly once, wherever the supervisor is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics import departed
from shmstream.metrics.blocks import DEPARTED, W_EPOCHS, W_TURN, Blocks
from shmstream.metrics.catalogue import APPENDS, FOLLOWERS, GAUGES, STARTED
from shmstream.metrics.reading import _sums, read
from shmstream.ring.layout import MAX_SLOTS


class Killed(Exception):
    """The supervisor has been killed."""


class Mortal:
    """Words whose writer is killed before a store."""

    def __init__(self, words: memoryview, stores: int) -> None:
        self._words = words
        self.stores = stores

    def __getitem__(self, at: Any) -> Any:
        return self._words[at]

    def __setitem__(self, at: int, value: int) -> None:
        if not self.stores:
            raise Killed
        self.stores -= 1
        self._words[at] = value


@pytest.fixture
def blocks(tmp_path: Path) -> Blocks:
    return Blocks.create(tmp_path / 'counters')


def sums(blocks: Blocks) -> list[int]:
    there = [s for s in range(MAX_SLOTS) if not departed.is_folded(blocks.words, s)]
    return _sums(blocks.words, there)


def begin(blocks: Blocks, slot: int, epoch: int, appends: int) -> None:
    departed.give(blocks, slot, epoch, pid=1)
    block = blocks.block(slot, epoch)
    assert block is not None
    block[APPENDS.at] = appends
    block[FOLLOWERS.at] = 3


def killed_at_each_store(blocks: Blocks, act: Any, check: Any) -> int:
    """Have ``act`` killed before each of its stores in turn; then let it be."""
    whole = blocks.words
    before = whole.tobytes()
    stores = 0
    while True:
        whole.cast('B')[:] = before
        blocks.words = Mortal(whole, stores)  # type: ignore[assignment]
        try:
            act()
        except Killed:
            blocks.words = whole
            check()
            act()
            check()
            stores += 1
        else:
            blocks.words = whole
            check()
            return stores


def test_a_supervisor_that_is_killed_anywhere_counts_a_worker_once(
    blocks: Blocks,
) -> None:
    begin(blocks, 5, 11, appends=7)
    departed.fold(blocks, 5)
    begin(blocks, 5, 12, appends=100)
    begin(blocks, 6, 13, appends=1000)

    def check() -> None:
        assert sums(blocks)[APPENDS.at] == 1107

    tried = killed_at_each_store(blocks, lambda: departed.fold(blocks, 5), check)
    assert tried > GAUGES
    assert sums(blocks)[FOLLOWERS.at] == 3, 'its gauges have gone with it'
    assert departed.is_folded(blocks.words, 5)
    assert not departed.is_folded(blocks.words, 6)


def test_a_slot_that_is_given_again_loses_and_doubles_nothing(blocks: Blocks) -> None:
    begin(blocks, 5, 11, appends=7)
    epochs = []

    def check() -> None:
        assert sums(blocks)[APPENDS.at] == 7
        epochs.append(blocks.epoch(5))

    killed_at_each_store(blocks, lambda: departed.give(blocks, 5, 12, pid=2), check)
    assert set(epochs) == {11, 12}
    assert blocks.block(5, 11) is None
    assert blocks.block(5, 12) is not None


def test_a_second_turn_uses_the_other_block_of_the_departed(blocks: Blocks) -> None:
    for epoch in (11, 12, 13):
        begin(blocks, 5, epoch, appends=epoch)
        departed.fold(blocks, 5)
        departed.fold(blocks, 5)
    assert blocks.words[W_TURN] == 3
    assert blocks.words[DEPARTED[1] + APPENDS.at] == 36
    assert sums(blocks)[APPENDS.at] == 36


def test_a_successor_settles_who_has_left_meanwhile(
    blocks: Blocks, tmp_path: Path
) -> None:
    table = WorkerTable.create(tmp_path / 'workers', made_directory=False)
    begin(blocks, 5, 11, appends=1)
    begin(blocks, 6, 12, appends=10)
    table.take(6, 12, 1)
    departed.settle(blocks, table)
    assert [departed.is_folded(blocks.words, slot) for slot in (5, 6)] == [True, False]
    assert sums(blocks)[APPENDS.at] == 11


def test_a_reader_is_not_misled_by_a_worker_that_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    blocks = Blocks.create(tmp_path / 'counters')
    begin(blocks, 5, 11, appends=7)
    copies = 0

    class Racing:
        """Words that change between a reader's first look and its copy."""

        def __init__(self, words: memoryview) -> None:
            self._words = words

        def __getitem__(self, at: Any) -> Any:
            return self._words[at]

        def tobytes(self) -> bytes:
            nonlocal copies
            copies += 1
            if copies == 1:
                # The file is copied in parts: the epoch is the new one in the copy
                # already, and the words are still the old ones.
                torn = Blocks.attach(tmp_path / 'counters').words.tobytes()
                departed.give(blocks, 5, 12, pid=1)
                copied = bytearray(torn)
                memoryview(copied).cast('Q')[W_EPOCHS + 5] = 12
                return bytes(copied)
            return self._words.tobytes()

    attach = Blocks.attach

    def attach_racing(path: Path) -> Blocks:
        found = attach(path)
        if not copies:
            found.words = Racing(found.words)  # type: ignore[assignment]
        return found

    monkeypatch.setattr(Blocks, 'attach', attach_racing)
    assert read(tmp_path).value('appends') == 7
    assert copies > 1
    blocks.supervisor()[STARTED.at] = 1
    assert read(tmp_path).value('sessions_started') == 1
