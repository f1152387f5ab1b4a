"""F35: whatever comes in whatever order, a stream is in the state that the table says.

Streams are made, written, stopped, replaced and ended in any order, by this process and
by another, with a real supervisor; a plain model says what must be there after each
step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shmstream import Consumer, FollowCut, Producer, State, StreamNotFound, Streams
from shmstream.errors import LocalError
from tests.api.following import Aside, in_a_thread
from tests.support.leaks import wait_until
from tests.support.worker import Worker

NOTICED_S = 10.0
"""A second is promised; the machine does other things too."""

_runs = itertools.count()
names = st.sampled_from(['a', 'b'])
anything = st.integers(0, 1 << 16)


@dataclass
class Expected:
    """What one stream must be: the model."""

    generation: str
    word: State
    consumer: Consumer
    producer: Producer | None = None
    text: bytes = b''
    cancelled: bool = False
    evicted: bool = False
    hooks: list[int] = field(default_factory=list)
    hooked: bool = False
    followers: list[tuple[int, Aside]] = field(default_factory=list)
    went_live: bool = True

    @property
    def has_begun(self) -> bool:
        """Whether it is or was live, or is a whole answer."""
        return self.went_live or self.word is State.COMPLETE

    @property
    def is_answer(self) -> bool:
        """Whether it has ended, and not by a stop before there was an answer."""
        return self.word.final and (self.went_live or self.word is not State.CANCELLED)

    @property
    def state(self) -> State:
        """The table of states, as readers are told it."""
        if self.word is State.COMPLETE or self.word is State.ABORTED:
            return self.word
        return State.CANCELLED if self.cancelled else self.word

    def end(self, word: State) -> None:
        """Its producer has ended it: the first end counts, a cancel before it wins."""
        if not self.word.final:
            self.word = State.CANCELLED if self.cancelled else word

    def cancel(self, evicted: bool = False) -> None:
        """It is cancelled, and ends by itself, whatever its producer does."""
        self.cancelled, self.evicted = True, self.evicted or evicted
        if not self.word.final:
            assert wait_until(lambda: self.consumer.finished, NOTICED_S)
            # They are called first.
            assert len(self.hooks) == self.hooked
            self.end(State.CANCELLED)


class Races(RuleBasedStateMachine):
    """Two ids, two processes, and everything that can be done to a stream."""

    streams: ClassVar[Streams]
    other: ClassVar[Worker]

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f'race-{next(_runs)}'
        self.current: dict[str, Expected] = {}
        self.kept: dict[str, Expected] = {}
        self.all: list[Expected] = []

    def conv_id(self, name: str) -> str:
        return f'{self.prefix}-{name}'

    def replace(self, name: str, new: Expected, pending: bool = False) -> None:
        # Who makes a stream settles what is kept of its id first.
        self.settle(name)
        old = self.current.get(name)
        if old is not None and pending and old.is_answer and name not in self.kept:
            self.kept[name] = old
        elif old is not None:
            old.cancel(evicted=True)
        self.current[name] = new
        self.all.append(new)

    def due(self, name: str) -> bool:
        """Whether the supervisor can decide on what is kept of this id."""
        current = self.current.get(name)
        return name in self.kept and (
            current is None or current.has_begun or current.word.final
        )

    def settle(self, name: str) -> None:
        """What is kept goes once its successor has begun, and else comes back."""
        if self.due(name):
            kept, current = self.kept.pop(name), self.current.get(name)
            gone = kept if current is not None and current.has_begun else current
            if gone is not kept:
                self.current[name] = kept
            if gone is not None:
                gone.cancel(evicted=True)

    def has_settled(self, name: str) -> bool:
        kept, current = self.kept[name], self.current.get(name)
        if current is not None and current.has_begun:
            return kept.consumer.evicted
        return self.streams.open(self.conv_id(name)).generation == kept.generation

    def await_settled(self) -> None:
        for name in ('a', 'b'):
            if self.due(name):
                assert wait_until(lambda n=name: self.has_settled(n), NOTICED_S)  # type: ignore[misc]
                self.settle(name)

    def chosen(self, which: int) -> Expected:
        return self.all[which % len(self.all)]

    def produced(self, which: int) -> tuple[Expected, Producer] | None:
        """One of the streams that this process has made."""
        mine = [each for each in self.all if each.producer is not None]
        if not mine:
            return None
        chosen = mine[which % len(mine)]
        assert chosen.producer is not None
        return chosen, chosen.producer

    # -- making ------------------------------------------------------------------------

    @rule(name=names, pending=st.booleans(), hooked=st.booleans())
    def create(self, name: str, pending: bool, hooked: bool) -> None:
        producer = self.streams.create(self.conv_id(name), pending=pending)
        word = State.PENDING if pending else State.LIVE
        consumer = Consumer(self.streams._attachment, producer._segment)
        new = Expected(producer.generation, word, consumer, producer, hooked=hooked)
        new.went_live = not pending
        if hooked:
            producer.on_cancel(lambda: new.hooks.append(1))
        self.replace(name, new, pending)

    @rule(name=names)
    def create_elsewhere(self, name: str) -> None:
        """Another process makes a stream under the id, and ends it."""
        generation = self.other.create(self.conv_id(name))
        consumer = self.streams.open(self.conv_id(name))
        self.replace(name, Expected(generation, State.COMPLETE, consumer))
        self.other.order('finish', self.conv_id(name))

    # -- producing ---------------------------------------------------------------------

    @rule(which=anything)
    def begin(self, which: int) -> None:
        if found := self.produced(which):
            expected, producer = found
            if expected.word is State.PENDING:
                producer.begin()
                expected.word, expected.went_live = State.LIVE, True
            else:
                with pytest.raises(LocalError):
                    producer.begin()

    @rule(which=anything, data=st.binary(max_size=200))
    def write(self, which: int, data: bytes) -> None:
        if found := self.produced(which):
            expected, producer = found
            entered = not expected.word.final
            assert producer.write(data) == entered
            if entered:
                expected.text += data

    @rule(which=anything)
    def finish(self, which: int) -> None:
        if found := self.produced(which):
            found[1].finish()
            found[0].end(State.COMPLETE)

    @rule(which=anything)
    def stop_from_within(self, which: int) -> None:
        if found := self.produced(which):
            found[1].cancel()
            found[0].end(State.CANCELLED)

    @rule(which=anything)
    def abort(self, which: int) -> None:
        if found := self.produced(which):
            expected, producer = found
            before = expected.word
            producer.abort('why')
            expected.end(State.ABORTED)
            if expected.word is State.ABORTED and not before.final:
                told = expected.consumer.read()
                error = told.removeprefix(expected.text)
                assert error.lstrip(b'\n').startswith(b'event: error\n')
                expected.text = told

    # -- stopping ----------------------------------------------------------------------

    @rule(
        name=st.sampled_from(['a', 'b', 'unknown']),
        evict=st.booleans(),
        elsewhere=st.booleans(),
        generation=st.sampled_from(['any', 'its', 'an old', 'no']),
    )
    def stop(self, name: str, evict: bool, elsewhere: bool, generation: str) -> None:
        """As a DELETE does, or a cancel: also twice, late, and of what is not there."""
        self.await_settled()
        current, kept = self.current.get(name), self.kept.get(name)
        given = {'any': None, 'no': '0123456789abcdef'}.get(generation, 'f' * 16)
        if generation == 'its' and current is not None:
            given = current.generation
        elif generation == 'an old' and self.all:
            given = self.all[0].generation
        by_generation = kept is not None and given == kept.generation
        hit = by_generation or (
            current is not None and given in (None, current.generation)
        )
        op = 'evict' if evict else 'cancel'
        if elsewhere:
            found = self.other.order('stop_generation', op, self.conv_id(name), given)
        else:
            stop = getattr(self.streams, op)
            found = stop(self.conv_id(name), generation=given)
        assert found == hit
        if by_generation:
            assert kept is not None
            kept.cancel()
        elif hit:
            assert current is not None
            current.cancel()
            if evict:
                current.evicted = True
                del self.current[name]
        if hit and evict and kept is not None:
            kept.cancel(evicted=True)
            del self.kept[name]

    # -- reading -----------------------------------------------------------------------

    @precondition(lambda self: self.all)
    @rule(which=anything, share=st.floats(0, 1))
    def follow(self, which: int, share: float) -> None:
        expected = self.chosen(which)
        if len(expected.followers) < 3:
            offset = int(len(expected.text) * share)
            aside = Aside(in_a_thread, expected.consumer.follow(offset))
            expected.followers.append((offset, aside))

    @rule()
    def look_up(self) -> None:
        """The supervisor knows the same."""
        self.await_settled()
        ids = [self.conv_id(name) for name in ('a', 'b', 'unknown')]
        told = {each['conversation_id']: each for each in self.streams.lookup(ids)}
        assert set(told) == {self.conv_id(name) for name in self.current}
        for name, expected in self.current.items():
            found = told[self.conv_id(name)]
            assert found['generation'] == expected.generation
            assert found['state'] == expected.state.label
            assert found['total_bytes'] == len(expected.text)
            assert found['is_done'] == expected.state.final

    @invariant()
    def every_stream_is_what_it_must_be(self) -> None:
        undecided = [self.kept[name] for name in self.kept if self.due(name)]
        undecided += [self.current[n] for n in self.current if self.due(n)]
        for expected in self.all:
            consumer = expected.consumer
            assert consumer.state is expected.state
            assert consumer.finished == expected.word.final
            if expected not in undecided:
                assert consumer.evicted == expected.evicted
            assert consumer.read() == expected.text

    @invariant()
    def every_id_leads_where_it_must(self) -> None:
        for name in ('a', 'b', 'unknown'):
            expected = self.current.get(name)
            if expected is None:
                with pytest.raises(StreamNotFound):
                    self.streams.open(self.conv_id(name))
            else:
                found = self.streams.open(self.conv_id(name))
                mine = [expected, self.kept[name]] if self.due(name) else [expected]
                assert found.generation in [each.generation for each in mine]

    def teardown(self) -> None:
        """Every producer has been told, once; every follower comes to its end."""
        for expected in self.all:
            if expected.producer is not None:
                expected.producer.finish()
                expected.end(State.COMPLETE)
            assert len(expected.hooks) <= (expected.hooked and expected.cancelled)
        for expected in self.all:
            for offset, aside in expected.followers:
                rest = expected.text[offset:]
                try:
                    assert aside.result() == rest
                except FollowCut:
                    # Its producer took its time to notice the cancel.
                    assert expected.cancelled
        self.await_settled()
        assert not self.kept
        self.every_stream_is_what_it_must_be()
        for name in list(self.current):
            self.streams.evict(self.conv_id(name))


def test_f35_any_order_of_events_obeys_the_table_of_states(
    streams: Streams, hire: Callable[[], Worker]
) -> None:
    here = {'streams': streams, 'other': hire()}
    run_state_machine_as_test(
        type('Races', (Races,), here),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
