"""What one process counts in: threads, forks, and slots that come and go."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from shmstream.metrics import departed
from shmstream.metrics.blocks import Blocks, block_of
from shmstream.metrics.catalogue import (
    APPENDS,
    BYTES,
    FOLLOWERS,
    GAUGES,
    METRICS,
    RINGS,
    WAKE,
)
from shmstream.metrics.counts import Counts


def test_threads_lose_no_counts() -> None:
    counts, at, bytes_at, each = Counts(), APPENDS.at, BYTES.of('in'), 50_000
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def count() -> None:
            size = 3
            for _ in range(each):
                counts.words[at] += 1
                counts.words[bytes_at] += size

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert counts.words[at] == 4 * each
    assert counts.words[bytes_at] == 12 * each


def test_what_was_counted_without_a_slot_is_added_and_gauges_move(
    tmp_path: Path,
) -> None:
    blocks = Blocks.create(tmp_path / 'counters')
    counts = Counts()
    counts.add(RINGS.at, 5)
    counts.words[FOLLOWERS.at] = 2
    block: memoryview | None = None
    for slot, epoch in ((3, 11), (4, 12)):
        departed.give(blocks, slot, epoch, pid=1)
        block = block_of(tmp_path / 'counters', slot, epoch)
        counts.use(block)
        counts.add(RINGS.at)
        assert block is not None
        assert block[FOLLOWERS.at] == 2
        assert block[RINGS.at] == (6 if epoch == 11 else 1)
    counts.use(None)
    counts.add(RINGS.at)
    assert block is not None
    assert block[RINGS.at] == 1


def test_a_process_that_lost_its_slot_gets_no_block(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = Blocks.create(tmp_path / 'counters')
    departed.give(blocks, 3, 12, pid=1)
    assert block_of(tmp_path / 'counters', 3, 11) is None
    assert block_of(tmp_path / 'none', 3, 11) is None
    assert 'not in the metrics' in caplog.text


def test_a_fork_does_not_count_in_its_parents_block(tmp_path: Path) -> None:
    blocks = Blocks.create(tmp_path / 'counters')
    departed.give(blocks, 3, 11, pid=1)
    counts = Counts()
    counts.use(blocks.block(3, 11))
    pid = os.fork()
    if not pid:
        counts.forget()
        counts.add(RINGS.at, 100)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert counts.words[RINGS.at] == 0


def test_a_duration_is_counted_in_its_bucket() -> None:
    counts = Counts()
    for ns in (-5, 0, WAKE.bounds_ns[0], WAKE.bounds_ns[0] + 1, 10**12):
        counts.observe(WAKE, ns)
    buckets = counts.words[WAKE.at : WAKE.at + len(WAKE.bounds) + 1].tolist()
    assert buckets[:2] == [3, 1]
    assert buckets[-1] == 1
    total = counts.words[WAKE.at + WAKE.words - 1]
    assert total == 2 * WAKE.bounds_ns[0] + 1 + 10**12


def test_words_of_metrics_do_not_overlap_and_counters_come_first() -> None:
    at = 0
    for metric in METRICS:
        assert metric.at == at
        assert (metric.kind == 'gauge') == (metric.at >= GAUGES)
        at += metric.words
