"""SIGKILL of one process: its streams end, everything else goes on (I2, I6)."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from shmstream.memory.worker_table import WorkerTable
from tests.supervisor.conftest import Hire, Start, serving, status
from tests.support.ends import failure
from tests.support.frozen import freeze
from tests.support.leaks import wait_until
from tests.support.patience import Stopwatch
from tests.support.worker import OrderFailed, Worker, line

DIED = failure('the producer of this stream has died').decode()

ENDED_S = 3.0
"""A second is promised; the machine does other things too."""


@pytest.fixture
def workers(start: Start, hire: Hire) -> list[Worker]:
    start()
    return [hire() for _ in range(3)]


def lines(text: str) -> int:
    """How many events there are; fails unless they are the first ones, in order."""
    count = len(text) // len(line(0))
    assert text.encode() == b''.join(map(line, range(count)))
    return count


def has_left(directory: Path, epoch: int) -> bool:
    """Whether the worker of this epoch has no slot any more."""
    return WorkerTable.attach(directory / 'workers').slot_of(epoch) is None


# -- a producer ------------------------------------------------------------------------


def test_the_stream_of_a_killed_producer_ends_in_band_and_soon(
    workers: list[Worker],
) -> None:
    dying, other, reader = workers
    for worker, conv_id in ((dying, 'dies'), (other, 'lives')):
        worker.create(conv_id)
        worker.order('stream', conv_id, 0.001)
        reader.follow(conv_id)
    assert wait_until(lambda: reader.order('followed_to', 'dies') > 500)
    with Stopwatch() as since_the_kill:
        dying.kill()
        found = reader.followed('dies')
    assert found['error'] is None
    assert since_the_kill.seconds < ENDED_S
    assert found['data'].endswith(DIED)
    assert lines(found['data'].removesuffix(DIED)) > 30
    assert reader.order('state', 'dies') == 'aborted'
    assert reader.order('state', 'lives') == 'live'
    here = reader.order('followed_to', 'lives')
    assert wait_until(lambda: reader.order('followed_to', 'lives') > here + 500)
    other.order('stop')
    written = other.order('join', 'lives')
    assert lines(reader.followed('lives')['data']) == written


def test_a_killed_producer_s_stream_is_told_to_those_who_come_later(
    workers: list[Worker],
) -> None:
    dying, reader, _ = workers
    dying.create('c')
    dying.order('write', 'c', 'data: half an ev')
    dying.kill()
    assert wait_until(lambda: reader.order('state', 'c') == 'aborted', ENDED_S)
    reader.follow('c')
    text = reader.followed('c')['data']
    assert text == 'data: half an ev\n\n' + DIED
    (found,) = reader.order('control', 'lookup', [['c']])
    assert (found['state'], found['is_done']) == ('aborted', True)
    assert found['total_bytes'] == len(text)
    assert abs(found['completed_at'] - time.time()) < 10


def test_a_stream_whose_producer_died_before_it_began_is_an_error_alone(
    workers: list[Worker],
) -> None:
    dying, reader, _ = workers
    dying.create('c', pending=True)
    reader.follow('c')
    dying.kill()
    assert reader.followed('c')['data'] == DIED


def test_what_is_no_event_stream_ends_where_it_is(workers: list[Worker]) -> None:
    dying, reader, _ = workers
    dying.create('c', content_type='application/json')
    dying.order('write', 'c', '{"half":')
    reader.follow('c')
    dying.kill()
    assert reader.followed('c')['data'] == '{"half":'
    assert reader.order('state', 'c') == 'aborted'


def test_a_cancelled_stream_whose_producer_died_ends_as_cancelled(
    workers: list[Worker],
) -> None:
    dying, reader, _ = workers
    dying.create('c')
    dying.order('write', 'c', 'data: x\n\n')
    freeze(dying.pid)
    assert reader.order('control', 'cancel', ['c'])
    dying.kill()
    assert wait_until(lambda: reader.order('control', 'lookup', [['c']])[0]['is_done'])
    assert reader.order('state', 'c') == 'cancelled'
    reader.follow('c')
    assert reader.followed('c')['data'] == 'data: x\n\n'


# -- a follower ------------------------------------------------------------------------


def test_a_killed_follower_hurts_nobody_and_counts_no_more(
    workers: list[Worker],
) -> None:
    producer, dying, reader = workers
    producer.create('c')
    producer.order('stream', 'c', 0.001)
    dying.follow('c')
    reader.follow('c')
    assert wait_until(lambda: producer.order('listeners', 'c') == 2)
    dying.kill()
    assert wait_until(lambda: producer.order('listeners', 'c') == 1, ENDED_S)
    here = reader.order('followed_to', 'c')
    assert wait_until(lambda: reader.order('followed_to', 'c') > here + 500)
    reader.kill()
    assert wait_until(lambda: producer.order('listeners', 'c') == 0, ENDED_S)
    producer.order('stop')
    assert producer.order('join', 'c') > 30
    assert producer.order('state', 'c') == 'complete'


def test_the_slot_of_a_killed_process_is_given_out_again(
    directory: Path, start: Start, hire: Hire
) -> None:
    start()
    stays = hire().order('attached')
    for _ in range(3):
        dying = hire()
        found = dying.order('attached')
        assert found['slot'] == stays['slot'] + 1
        assert found['epoch'] != stays['epoch']
        dying.kill()
        assert wait_until(partial(has_left, directory, found['epoch']))


# -- the supervisor --------------------------------------------------------------------


def test_streams_go_on_while_there_is_no_supervisor(
    directory: Path, start: Start, hire: Hire
) -> None:
    first = start()
    producer, reader = hire(deployed=False), hire(deployed=False)
    producer.create('c')
    producer.order('stream', 'c', 0.001)
    reader.follow('c')
    assert wait_until(lambda: reader.order('followed_to', 'c') > 100)
    first.kill()
    first.wait()
    here = reader.order('followed_to', 'c')
    assert wait_until(lambda: reader.order('followed_to', 'c') > here + 1000)
    # Nothing begins and nobody waits for ever; what needs nobody works.
    with (
        Stopwatch() as watch,
        pytest.raises(OrderFailed, match='SupervisorUnavailable'),
    ):
        producer.create('new')
    assert watch.seconds < 8
    assert reader.order('state', 'c') == 'live'
    producer.order('stop')
    written = producer.order('join', 'c')
    assert lines(reader.followed('c')['data']) == written
    assert status(directory) is None
    start()
    (found,) = reader.order('control', 'lookup', [['c']])
    assert (found['state'], found['total_bytes']) == (
        'complete',
        len(line(0)) * written,
    )


def test_a_killed_supervisor_is_replaced_without_anybody_asking(
    directory: Path, workers: list[Worker]
) -> None:
    producer, reader, other = workers
    before = [worker.order('attached') for worker in workers]
    generation = producer.create('c')
    producer.order('note_cancel', 'c')
    producer.order('stream', 'c', 0.001)
    reader.follow('c')
    first = serving(directory)
    os.kill(first, signal.SIGKILL)
    second = serving(directory, but=first)
    # Everybody keeps the place that it had.
    assert [worker.order('attached') for worker in workers] == before
    assert wait_until(lambda: producer.order('listeners', 'c') == 1)
    (found,) = other.order('control', 'lookup', [['c']])
    assert (found['state'], found['generation']) == ('live', generation)
    # The successor does all that its predecessor did.
    other.create('new')
    other.order('write', 'new', 'x')
    assert other.order('finish', 'new') == 'complete'
    with Stopwatch() as since_the_cancel:
        assert other.order('control', 'cancel', ['c'])
        producer.order('join', 'cancel:c')
        found = reader.followed('c')
    assert since_the_cancel.seconds < ENDED_S
    assert lines(found['data']) == producer.order('join', 'c')
    assert reader.order('state', 'c') == 'cancelled'
    assert other.order('control', 'evict', ['new'])
    assert serving(directory) == second


def test_the_successor_keeps_live_streams_and_aborts_dead_ones(
    directory: Path, workers: list[Worker]
) -> None:
    dying, producer, reader = workers
    for worker, conv_id in ((dying, 'dies'), (producer, 'lives')):
        worker.create(conv_id)
        worker.order('write', conv_id, 'data: x\n\n')
        reader.follow(conv_id)
    first = serving(directory)
    os.kill(first, signal.SIGKILL)
    dying.kill()
    found = reader.followed('dies')
    assert 'the producer of this stream has died' in found['data']
    assert reader.order('state', 'dies') == 'aborted'
    assert serving(directory, but=first)
    assert reader.order('state', 'lives') == 'live'
    assert producer.order('write', 'lives', 'data: y\n\n')
    assert producer.order('finish', 'lives') == 'complete'
    assert reader.followed('lives')['data'] == 'data: x\n\ndata: y\n\n'


def test_a_process_that_may_start_none_comes_back_to_a_new_supervisor(
    directory: Path, start: Start, hire: Hire
) -> None:
    """Nobody asks it for anything meanwhile."""
    first = start()
    quiet = hire(deployed=False)
    before = quiet.order('attached')
    first.kill()
    first.wait()
    start()
    # Longer than a supervisor waits for those who were there before it.
    assert not wait_until(partial(has_left, directory, before['epoch']), 4.5)
    assert quiet.order('attached') == before


def test_supervisors_that_are_killed_one_after_the_other_lose_nothing(
    directory: Path, workers: list[Worker]
) -> None:
    producer, reader, _ = workers
    producer.create('c')
    producer.order('stream', 'c', 0.001)
    reader.follow('c')
    last = serving(directory)
    for _ in range(3):
        os.kill(last, signal.SIGKILL)
        last = serving(directory, but=last)
    producer.order('stop')
    written = producer.order('join', 'c')
    assert lines(reader.followed('c')['data']) == written
    assert producer.order('state', 'c') == 'complete'
