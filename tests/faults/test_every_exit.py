"""F49: an exception at every point of making and of ending a stream.

A signal handler may raise anywhere, and so may whatever needs memory. The exception
goes on up; but no stream may stay live for it, nor a descriptor or a lock be kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import pytest

from shmstream import Consumer, Follower, Producer, State, Streams
from shmstream.cancel_hooks import CancelHooks
from shmstream.control import request
from shmstream.control.client import ControlClient
from shmstream.memory.mappings import Mappings
from shmstream.new_stream import new_stream
from shmstream.process.membership_holder import MembershipHolder
from shmstream.stream_end import end_stream
from shmstream.wakeups.producer_side import Marker
from tests.support.dying import Interrupted, interrupt_at
from tests.support.leaks import wait_until
from tests.support.stranger import stranger

pytestmark = [
    # A descriptor that only its owner's last reference closes: that is the point.
    pytest.mark.filterwarnings('ignore::ResourceWarning'),
    pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
]

ENDING = (
    *(Producer._end, Producer._publish, Producer._let_go),
    *(end_stream, Marker.mark_state, CancelHooks.clear),
)


def interrupted(act: Callable[[], object]) -> bool:
    """Whether an exception came while it was done."""
    try:
        act()
    except Interrupted:
        return True
    finally:
        sys.settrace(None)
    return False


def free_for_others(producer: Producer) -> bool:
    """Whether another thread can do something with it."""
    found: list[bool] = []

    def try_it() -> None:
        found.append(producer._lock.acquire(timeout=5))

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize('every', ['line', 'signal'])
@pytest.mark.parametrize('end', [Producer.finish, lambda p: p.abort('why')])
def test_f49_wherever_ending_is_interrupted_the_stream_ends(
    streams: Streams, every: str, end: Callable[[Producer], None]
) -> None:
    """Who holds on to the producer keeps nobody waiting: its lock is free."""
    kept: list[tuple[Producer, Consumer]] = []
    untouched = 0
    for number in itertools.count():
        producer = streams.create(f'c{number}', capacity=4096)
        producer.write(b'data: x\n\n')
        producer.on_cancel(lambda: None)
        kept.append((producer, streams.open(f'c{number}')))
        interrupt_at(number, *ENDING, every=every)
        if not interrupted(partial(end, producer)):
            break
        if not producer._ended:
            # Before its first instruction: nothing has begun, and it can be done again.
            untouched += 1
            assert producer.write(b'')
            end(producer)
        assert not producer.write(b'data: y\n\n')
        assert producer not in streams._process.producers.all()
        assert not producer._on_cancel
        assert producer._file.closed
        end(producer)
        producer.finish()
    assert number > 15
    assert untouched <= 3
    for producer, consumer in kept:
        assert wait_until(lambda consumer=consumer: consumer.finished)  # type: ignore[misc]
        assert consumer.state in (State.COMPLETE, State.ABORTED)
        assert consumer.read().startswith(b'data: x\n\n')
        assert producer.state.final or consumer.state is State.ABORTED


def test_f49_a_block_that_is_left_at_any_line_ends_its_stream(streams: Streams) -> None:
    kept: list[tuple[Producer, Consumer]] = []
    for number in itertools.count():
        producer = streams.create(f'c{number}', capacity=4096)
        kept.append((producer, streams.open(f'c{number}')))
        interrupt_at(number, Producer.__exit__, Producer.finish, every='line')

        def leave(producer: Producer = producer) -> None:
            with producer:
                pass

        if not interrupted(leave):
            break
        # The first line of all is the way in.
        assert producer._ended or not number
        producer.finish()
    assert number >= 4
    for _, consumer in kept:
        assert wait_until(lambda consumer=consumer: consumer.finished)  # type: ignore[misc]


def descriptors() -> int:
    # Tracing leaves cycles of frames.
    gc.collect()
    return len(os.listdir('/proc/self/fd'))


def _receives(lines: str) -> tuple[Callable[..., object], ...]:
    making = (
        *(Streams.create, new_stream, Producer.__init__, Producer.begin),
        Mappings.share_locked,
    )
    asking = (ControlClient.request, request.call, request._receive)
    return making if lines == 'making' else (*asking, ControlClient._ask)


_Generated: Any = contextlib._GeneratorContextManager

LOCKING: tuple[Callable[..., Any], ...] = (
    *(ControlClient.request, ControlClient.connect, ControlClient._ask),
    *(ControlClient._alone, ControlClient._connected),
    *(_Generated.__init__, _Generated.__enter__, _Generated.__exit__),
)


@pytest.mark.parametrize('again', [False, True])
def test_f49_wherever_asking_is_interrupted_others_may_ask(
    streams: Streams, again: bool
) -> None:
    """While what was raised is kept, with all that its frames hold."""
    asks = streams._process.link.client
    errors: list[BaseException] = []

    def ask() -> None:
        if again:
            asks._drop()
            asks.connect()
        else:
            asks.request('status')

    def answered() -> bool:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(streams.status()))
        thread.start()
        thread.join()
        return bool(found)

    for number in itertools.count():
        interrupt_at(number, *LOCKING, every='signal')
        try:
            ask()
            break
        except Interrupted as ex:
            errors.append(ex)
        finally:
            sys.settrace(None)
        assert answered(), number
    assert number > 8
    assert answered()


@pytest.mark.parametrize('part', ['making', 'asking'])
@pytest.mark.parametrize('every', ['line', 'signal'])
def test_f49_wherever_making_is_interrupted_no_stream_stays_live(
    streams: Streams, part: str, every: str
) -> None:
    """And no descriptor stays: whoever had received it may not have known it yet."""
    functions = _receives(part)
    streams.create('before').finish()
    errors: list[BaseException] = []
    found: list[Producer] = []
    before = descriptors()
    for number in itertools.count():
        interrupt_at(number, *functions, every=every)
        try:
            found.append(streams.create(f'c{number}', capacity=4096))
            break
        except Interrupted as ex:
            # Kept, as loggers do: its frames must keep no stream alive.
            errors.append(ex)
        finally:
            sys.settrace(None)
    assert number > 15
    found[0].finish()
    wait_until(
        lambda: {each['state'] for each in streams.list()} <= {'complete', 'aborted'}
    )
    assert {each['state'] for each in streams.list()} <= {'complete', 'aborted'}
    found.clear()
    errors.clear()
    # Mappings that nobody uses are kept for a moment.
    assert wait_until(lambda: descriptors() <= before)
    with streams.create('after') as producer:
        assert producer.write(b'x')


@pytest.mark.parametrize('every', ['line', 'signal'])
def test_f49_wherever_a_slot_s_taking_is_interrupted_it_is_taken_in_the_end(
    streams: Streams, every: str
) -> None:
    """With a thread that drives the hubs, and no other thread or descriptor."""
    before, threads = descriptors(), threading.active_count()
    for number in itertools.count():
        own = stranger(streams._process.directory.path)
        interrupt_at(
            number, MembershipHolder.take, MembershipHolder._open_hubs, every=every
        )
        hit = interrupted(own.connect)
        if hit:
            own.connect()
        assert own._process.holder.there
        assert threading.active_count() == threads + 1
        with own.create('c') as producer:
            follower = own.open('c').follow()
            assert producer.write(b'x')
            assert next(follower) == b'x'
            follower.close()
        own.close()
        assert threading.active_count() == threads
        if not hit:
            break
    assert number > 10
    del own, producer, follower
    assert wait_until(lambda: descriptors() <= before)


@pytest.mark.parametrize('every', ['line', 'signal'])
@pytest.mark.parametrize('goes_on', [True, False])
def test_f49_wherever_a_follower_s_first_step_is_interrupted_it_counts_once(
    streams: Streams, every: str, goes_on: bool
) -> None:
    """Or, dropped, not at all; and its place is free."""
    with streams.create('c') as producer:
        assert producer.write(b'x')
        consumer = streams.open('c')
        hubs = streams._process.holder.require().hubs
        for number in itertools.count():
            follower = consumer.follow()
            interrupt_at(number, Follower._enter, every=every)
            hit = interrupted(partial(next, follower))
            if hit and goes_on:
                assert next(follower) == b'x'
            if goes_on:
                assert producer.followers == streams.followers == 1
                follower.close()
            del follower
            # Tracing leaves cycles of frames.
            gc.collect()
            assert wait_until(lambda: producer.followers == streams.followers == 0)
            assert wait_until(lambda: not hubs.threads._hub._watches)
            assert not hubs.board._place_of
            if not hit:
                break
        assert number > 3


def test_f49_wherever_waiting_for_a_beginning_is_interrupted_nobody_counts(
    streams: Streams,
) -> None:
    with streams.create('c', pending=True) as producer:
        consumer = streams.open('c')
        for number in itertools.count():
            interrupt_at(number, Consumer.started, every='signal')
            hit = interrupted(lambda: asyncio.run(consumer.started(0)))
            assert producer.followers == streams.followers == 0, number
            if not hit:
                break
        assert number > 8
        producer.begin()


@dataclass
class Shots:
    """Have a signal handler raise ``Interrupted`` in the main thread.

    Attributes:
        fire: at any moment soon.
        fired: how many were asked for.
        raised: how often the handler has raised.
    """

    fire: Callable[[], None]
    fired: int = 0
    raised: int = 0

    def __call__(self) -> None:
        self.fired += 1
        self.fire()

    def until_hit(self) -> NoReturn:
        """Wait for ``Interrupted``.

        Python ignores what a handler raises while a destructor runs. Then there is
        another shot.
        """
        while True:
            signal.sigtimedwait([], 0.01)
            if self.raised == self.fired:
                self()


@contextlib.contextmanager
def signals() -> Iterator[Shots]:
    """Give the shots."""
    asked = threading.Semaphore(0)
    shots = Shots(asked.release)

    def handler(*_: object) -> None:
        shots.raised += 1
        raise Interrupted

    old = signal.signal(signal.SIGUSR2, handler)
    main = threading.get_ident()
    over = threading.Event()
    chance = random.Random(4711)

    def shoot() -> None:
        while asked.acquire() and not over.is_set():
            for _ in range(chance.randrange(400)):
                pass
            signal.pthread_kill(main, signal.SIGUSR2)

    thread = threading.Thread(target=shoot)
    thread.start()
    try:
        yield shots
    finally:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        over.set()
        asked.release()
        thread.join()
        signal.signal(signal.SIGUSR2, old)


def test_f49_signals_while_streams_are_made_and_ended_leave_none_live(
    streams: Streams,
) -> None:
    """A handler that raises, at moments of the machine's own choosing."""
    kept: list[Producer] = []
    streams.create('before').finish()
    with signals() as shoot:
        for number in range(300):
            try:
                shoot()
                producer = streams.create(f'c{number % 50}', capacity=4096)
                kept.append(producer)
                producer.write(b'data: x\n\n')
                producer.finish()
                shoot.until_hit()
            except Interrupted:
                pass
    for producer in kept:
        producer.finish()
        assert free_for_others(producer)
    assert wait_until(
        lambda: {each['state'] for each in streams.list()} <= {'complete', 'aborted'}
    )
    with streams.create('after') as last:
        assert last.write(b'x')
