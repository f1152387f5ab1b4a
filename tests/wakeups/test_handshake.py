"""The handshakes of ``wakeups/shared_board.py``, as the code runs them, in all orders.

Real producers and hubs run here on words that note each store, load and fence. What was
noted is then run by two processors in every order that x86 allows (``ring/tso.py``):
never may both have missed each other, and without its fence each side must be found to.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shmstream import Producer, clock
from shmstream.memory.new_segment import new_segment
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.counts import Counts
from shmstream.process.live_producers import LiveProducers
from shmstream.producer_needs import Attached
from shmstream.ring.layout import W_EVICTED, W_HEAD, W_STATE
from shmstream.wakeups import producer_side
from shmstream.wakeups.producer_side import ring_everybody
from tests.ring.tso import Step, outcomes
from tests.wakeups.scene import SLOT, Hub, NotedBells, hire

FENCE: Step = ('fence', '')


class Words:
    """Shared words that note who stores and loads them, under names."""

    def __init__(self, words: memoryview, names: dict[int, str], log: list[Step]):
        self._words = words
        self._names = names
        self._log = log

    def _note(self, kind: str, at: int) -> None:
        if at in self._names:
            self._log.append((kind, self._names[at]))

    def __getitem__(self, at: int) -> int:
        self._note('load', at)
        value: int = self._words[at]
        return value

    def __setitem__(self, at: int, value: int) -> None:
        self._words[at] = value
        self._note('store', at)


class Handshake:
    """A producer in one process and a hub in another, and what each of them does."""

    def __init__(
        self, path: Path, table: WorkerTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.table = table
        self.segment, fd = new_segment(
            path,
            capacity=65536,
            generation=1 << 40,
            created=clock.Moment(1, 1, 1),
            producer_epoch=0,
            owner=bytes(32),
            conv_id=b'c',
        )
        self.board = hire(table)
        self.hub = Hub(self.board)
        self.produced: list[Step] = []
        self.followed: list[Step] = []
        process = SimpleNamespace(
            bells=NotedBells(table),
            room=SimpleNamespace(take_for=lambda segment: lambda size: True),
            producers=LiveProducers(),
            here=True,
            counts=Counts(),
        )
        attachment = cast(Attached, SimpleNamespace(process=process, closed=False))
        self.producer = Producer(attachment, self.segment, io.FileIO(fd, 'r+'))
        self._note_producer(monkeypatch)
        self._note_follower()

    def _note_producer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        log, producer = self.produced, cast(Any, self.producer)
        release = producer._release

        def released() -> None:
            # A locked instruction on x86: see ``fence_after_release``.
            release()
            log.append(FENCE)

        producer._release = released
        monkeypatch.setattr(
            producer_side, 'make_fence', lambda: lambda: log.append(FENCE)
        )
        ring, marker = producer._ring, producer._marker
        ring._words = Words(ring._words, {W_HEAD: 'head', W_STATE: 'state'}, log)
        marks = {self.table.place_at(SLOT, 0): 'mark', self.table.nap_at(SLOT): 'nap'}
        marker._words = Words(self.table.words, marks, log)
        marker._copy_places = noted(marker._copy_places, log, ('load', 'place'))

    def _note_follower(self) -> None:
        log, board = self.followed, cast(Any, self.board)
        board._fence = lambda: log.append(FENCE)
        board._words = Words(self.table.words, {self.table.nap_at(SLOT): 'nap'}, log)
        board._blocks[0] = noted(board._blocks[0], log, ('load', 'mark'))
        segment = cast(Any, self.segment)
        segment.set_place = noted(segment.set_place, log, ('store', 'place'))
        loads: list[Step] = [('load', word) for word in ('head', 'state', 'evicted')]
        segment.reader.snapshot = noted(segment.reader.snapshot, log, *loads)

    def evict(self) -> None:
        """As the supervisor does; noted as what the producer does."""
        words = Words(self.segment.words, {W_EVICTED: 'evicted'}, self.produced)
        words[W_EVICTED] = 1
        segment = cast(Any, self.segment)
        segment.places = noted(segment.places, self.produced, ('load', 'place'))
        ring_everybody(self.segment, NotedBells(self.table))

    def forget(self) -> None:
        """What has been noted until now was only to get here."""
        self.produced.clear()
        self.followed.clear()


def noted(inner: Callable[..., Any], log: list[Step], *steps: Step) -> Any:
    """Note steps whenever something is called."""

    def call(*args: Any) -> Any:
        log.extend(steps)
        return inner(*args)

    return call


def check(handshake: Handshake, missed: tuple[str, str]) -> None:
    """Never do both miss each other, unless a fence is left out of either side.

    Args:
        handshake: what has been noted.
        missed: what the producer, and what the follower must not miss both.
    """
    produced, followed = handshake.produced, handshake.followed
    print(produced, followed)
    sees, is_told = missed

    def both_miss(one: list[Step], two: list[Step]) -> bool:
        return any(
            sees not in first and is_told not in second
            for first, second in outcomes(one, two)
        )

    assert not both_miss(produced, followed)
    assert both_miss([step for step in produced if step != FENCE], followed)
    assert both_miss(produced, [step for step in followed if step != FENCE])


@pytest.fixture
def handshake(
    tmp_path: Path, table: WorkerTable, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Handshake]:
    made = Handshake(tmp_path / 'segment', table, monkeypatch)
    yield made
    made.producer.finish()


def followed_and_awake(handshake: Handshake) -> object:
    """Somebody follows, is known to the producer, and is awake; returns who."""
    handshake.hub.join(handshake.segment)
    hub = object()
    handshake.board.stay_awake(hub)
    assert handshake.producer.write(b'x')
    handshake.board.collect(hub)
    handshake.forget()
    return hub


def test_who_writes_sees_the_nap_or_who_naps_the_mark(handshake: Handshake) -> None:
    hub = followed_and_awake(handshake)
    assert handshake.producer.write(b'x')
    handshake.board.nap(hub)
    check(handshake, ('nap', 'mark'))


def test_who_ends_a_stream_sees_the_nap_or_who_naps_the_mark(
    handshake: Handshake,
) -> None:
    hub = followed_and_awake(handshake)
    handshake.producer.finish()
    handshake.board.nap(hub)
    check(handshake, ('nap', 'mark'))


def test_who_writes_sees_the_place_or_who_enters_the_bytes(
    handshake: Handshake,
) -> None:
    assert handshake.producer.write(b'x')
    handshake.hub.join(handshake.segment)
    check(handshake, ('place', 'head'))


def test_who_ends_a_stream_sees_the_place_or_who_enters_the_end(
    handshake: Handshake,
) -> None:
    handshake.producer.finish()
    handshake.hub.join(handshake.segment)
    check(handshake, ('place', 'state'))


def test_who_evicts_sees_the_place_or_who_enters_that_it_is_gone(
    handshake: Handshake,
) -> None:
    handshake.evict()
    handshake.hub.join(handshake.segment)
    check(handshake, ('place', 'evicted'))
