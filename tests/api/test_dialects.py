"""A producer of the library ends its stream in the dialect of what it has written."""

from __future__ import annotations

import gc

import pytest

from shmstream import Producer, State, Streams
from shmstream.stream_end import DROPPED, NO_ROOM, SHUTTING_DOWN
from tests.dialects.samples import LANGGRAPH, SAMPLES, Sample, told
from tests.support.leaks import wait_until

dialects = pytest.mark.parametrize('sample', SAMPLES.values(), ids=SAMPLES)


def begun(streams: Streams, conv_id: str, sample: Sample) -> Producer:
    producer = streams.create(conv_id, content_type=sample.content_type)
    assert producer.write(sample.begun)
    return producer


@dialects
def test_f70_a_producer_that_gives_up(
    streams: Streams, conv_id: str, sample: Sample
) -> None:
    begun(streams, conv_id, sample).abort(NO_ROOM)
    consumer = streams.open(conv_id)
    assert consumer.read() == sample.begun + told(sample, NO_ROOM)
    assert consumer.state is State.ABORTED
    assert consumer.untold_failure == ''


@dialects
def test_f70_a_producer_that_is_dropped(
    streams: Streams, conv_id: str, sample: Sample
) -> None:
    begun(streams, conv_id, sample)
    gc.collect()
    consumer = streams.open(conv_id)
    assert wait_until(lambda: consumer.finished)
    assert consumer.read() == sample.begun + told(sample, DROPPED)


@dialects
def test_f70_a_producer_whose_process_leaves(
    streams: Streams, conv_id: str, sample: Sample
) -> None:
    with Streams.attach(streams._process.directory.path) as other:
        producer = begun(other, conv_id, sample)
    assert not producer.write(b'')
    consumer = streams.open(conv_id)
    assert consumer.read() == sample.begun + told(sample, SHUTTING_DOWN)


@dialects
def test_f71_what_has_said_that_it_is_over_is_complete_however_it_ends(
    streams: Streams, conv_id: str, sample: Sample
) -> None:
    if not sample.end:
        return
    for end in (Producer.cancel, Producer.finish, lambda p: p.abort('why')):
        producer = begun(streams, conv_id, sample)
        producer.write(sample.end)
        end(producer)
        consumer = streams.open(conv_id)
        assert consumer.read() == sample.begun + sample.end
        assert producer.state is consumer.state is State.COMPLETE


def test_f73_a_stop_is_told_when_the_beginning_has_been_dropped(
    streams: Streams, conv_id: str
) -> None:
    """What was said of the dialect is kept with the stream."""
    producer = streams.create(conv_id, capacity=4096)
    producer.write(LANGGRAPH.events[0])
    producer._speaks(LANGGRAPH.dialect.number)
    for _ in range(200):
        producer.write(LANGGRAPH.events[1])
    streams.cancel(conv_id)
    producer.finish()
    consumer = streams.open(conv_id)
    assert consumer.dropped_prefix
    assert consumer.state is State.CANCELLED
    assert consumer.read(consumer.dropped_prefix).endswith(
        b'event: end\ndata: null\n\n'
    )


def test_f73_what_was_stopped_before_it_began_says_nothing(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id, pending=True)
    producer.cancel()
    consumer = streams.open(conv_id)
    assert (consumer.total_bytes, consumer.content_type) == (0, '')


@pytest.mark.parametrize('why', ['why', '', 'ä' * 500])
def test_f74_why_a_stream_of_another_type_failed_is_kept(
    streams: Streams, conv_id: str, why: str
) -> None:
    producer = streams.create(conv_id, content_type='audio/ogg')
    producer.write(b'half')
    producer.abort(why)
    consumer = streams.open(conv_id)
    assert consumer.read() == b'half'
    expected = why.encode()[:248].decode() if why else 'the stream has failed'
    assert consumer.untold_failure == expected
    follower = consumer.follow()
    assert list(follower) == [b'half']
    assert follower.untold_failure == expected
