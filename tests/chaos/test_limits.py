"""What the soak measures is what there is, and what is beyond a bound fails the run."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import limits
from tests.chaos.holdings import heap, holdings
from tests.chaos.limits import Limits
from tests.chaos.verdict import Verdict

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason='what has no name any more is seen by root only'
)


@pytest.fixture
def folder(directory: Path) -> Path:
    """Where segments would be."""
    made = directory / 'sessions'
    made.mkdir(parents=True)
    return made


@pytest.fixture
def verdict(tmp_path: Path) -> Iterator[Verdict]:
    verdict = Verdict(tmp_path / 'log')
    yield verdict
    verdict.close()


def write(path: Path, size: int) -> Path:
    path.write_bytes(b'x' * size)
    return path


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.parent.rmdir()


def test_what_has_a_name_is_measured(folder: Path) -> None:
    write(folder / 'a', 8192)
    write(folder / '.gone-1', 4096)
    os.link(folder / 'a', folder / '.gone-2')
    found = holdings(folder.parent, [os.getpid()])
    # What has two names is there once.
    assert found.segments == 8192 + 4096
    assert found.aside == 2
    clear(folder)
    assert holdings(folder.parent, [os.getpid(), -1]).segments == 0


@needs_root
def test_what_is_mapped_or_open_without_a_name_is_measured(folder: Path) -> None:
    path = write(folder / 'a', 8192)
    with path.open('rb') as opened:
        mapped = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        path.unlink()
        assert holdings(folder.parent, [os.getpid()]).segments == 8192
    found = holdings(folder.parent, [os.getpid()])
    assert (found.segments, found.sessions, found.aside) == (8192, 0, 1)
    mapped.close()
    assert holdings(folder.parent, [os.getpid()]).segments == 0
    clear(folder)


def test_a_heap_that_grows_is_seen() -> None:
    before = heap(os.getpid())
    kept = b'x' * (64 << 20)
    assert heap(os.getpid()) - before > len(kept) // 2
    assert heap(-1) == 0


def test_what_is_beyond_a_bound_fails_the_run(tmp_path: Path, verdict: Verdict) -> None:
    verdict.bytes_checked = 1
    asked = Limits(0, tmp_path, verdict)
    asked.judge_segments(limits.MAX_MEMORY)
    for _ in range(limits._IN_A_ROW - 1):
        asked.judge_segments(limits.MAX_MEMORY + limits.WRITTEN + 1)
    asked.judge_heap(7, 50 << 20)
    asked.judge_heap(7, (50 << 20) + limits.HEAP)
    asked.judge_limit(limits.MAX_MEMORY, limits.MAX_MEMORY)
    assert verdict.good
    asked.judge_segments(limits.MAX_MEMORY + limits.WRITTEN + 1)
    assert verdict.count('beyond') == 1
    asked.judge_heap(7, (50 << 20) + limits.HEAP + 1)
    asked.judge_heap(8, 200 << 20)
    assert verdict.count('beyond') == 2
    asked.judge_limit(limits.MAX_MEMORY, limits.MAX_MEMORY // 2)
    assert verdict.count('beyond') == 3
    # Nor may it be any other that a successor of its successor has.
    asked.judge_limit(limits.MAX_MEMORY // 2, limits.MAX_MEMORY // 2)
    assert verdict.count('beyond') == 4
    assert not verdict.good


def test_who_has_nothing_is_served_or_it_is_told(
    tmp_path: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Limits(0, tmp_path, verdict)
    tries = 0

    async def refused(*_: object) -> None:
        nonlocal tries
        tries += 1

    monkeypatch.setattr(asked, '_post', refused)
    monkeypatch.setattr(limits, 'WITHIN_S', 0.0)
    asyncio.run(asked._few_is_served('for a test'))
    assert tries
    assert verdict.count('beyond') == 1
