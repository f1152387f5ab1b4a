"""Adds up the counters of workers that have left: each exactly once.

There are two blocks of the departed, and the turn says which is valid. To add a worker
the supervisor writes the other one whole, and then the turn::

    worker k leaves   other block = valid block + block k; folded[k] = epoch[k]
                      turn += 1: one store, which makes the other block the valid one
    slot k is given   (block k has been added by now) block k = 0; epoch[k] = the new
      to a worker     epoch, stored last

A supervisor that is killed before the turn has done nothing: its successor writes the
other block again. One that is killed after it has done all. Block k is cleared while
its old epoch still stands there, so that nobody counts what is half cleared.

Only a process that holds ``supervisor.lock`` may call this, and only for slots whose
worker has gone (``memory.slot_locks``).
"""

from __future__ import annotations

from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.blocks import (
    DEPARTED,
    FOLDED,
    W_EPOCHS,
    W_PIDS,
    W_TURN,
    Blocks,
    slot_at,
)
from shmstream.metrics.catalogue import GAUGES, WORDS
from shmstream.ring.layout import MAX_SLOTS


def is_folded(words: memoryview, slot: int) -> bool:
    """Whether what block ``slot`` has counted is in the departed, or nothing is."""
    epoch: int = words[W_EPOCHS + slot]
    valid = DEPARTED[words[W_TURN] & 1]
    return not epoch or bool(words[valid + FOLDED + slot] == epoch)


def fold(blocks: Blocks, slot: int) -> None:
    """Add the counters of a worker that has left to the departed, unless they are."""
    words = blocks.words
    if is_folded(words, slot):
        return
    turn = words[W_TURN]
    valid, other, block = DEPARTED[turn & 1], DEPARTED[~turn & 1], slot_at(slot)
    for at in range(GAUGES):
        words[other + at] = words[valid + at] + words[block + at]
    for at in range(FOLDED, FOLDED + MAX_SLOTS):
        words[other + at] = words[valid + at]
    words[other + FOLDED + slot] = words[W_EPOCHS + slot]
    words[W_TURN] = turn + 1


def give(blocks: Blocks, slot: int, epoch: int, pid: int) -> None:
    """Give a slot's block to a new worker, with zeros in it."""
    fold(blocks, slot)
    words = blocks.words
    block = slot_at(slot)
    for at in range(block, block + WORDS):
        words[at] = 0
    words[W_PIDS + slot] = pid
    words[W_EPOCHS + slot] = epoch


def settle(blocks: Blocks, table: WorkerTable) -> None:
    """Fold what an earlier supervisor could not: workers that are not in the table."""
    for slot in range(MAX_SLOTS):
        if blocks.epoch(slot) != table.epoch(slot):
            fold(blocks, slot)
