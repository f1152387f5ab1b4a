"""The reading end: every byte from an offset on, until the end."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from shmstream import (
    LocalError,
    OffsetLost,
    StreamReplaced,
    Streams,
)
from shmstream.wakeups.hub_watch import Watch
from tests.api.following import SOON_S, Aside, Follow, listens
from tests.support.patience import Stopwatch
from tests.support.worker import Worker

# -- opening and reading ---------------------------------------------------------------


def test_a_generation_can_be_asked_for(streams: Streams, conv_id: str) -> None:
    first = streams.create(conv_id).generation
    producer = streams.create(conv_id)
    assert streams.open(conv_id, generation=producer.generation).conv_id == conv_id
    with pytest.raises(StreamReplaced) as replaced:
        streams.open(conv_id, generation=first)
    assert replaced.value.generation == producer.generation
    producer.finish()


@pytest.mark.parametrize('offset', [-1, 1 << 63, 1 << 64])
def test_an_offset_that_cannot_be_one_is_refused(
    streams: Streams, conv_id: str, offset: int
) -> None:
    with streams.create(conv_id) as producer:
        consumer = streams.open(conv_id)
        for use in (consumer.read, consumer.follow):
            with pytest.raises(LocalError, match='offset must be'):
                use(offset)
        assert producer.followers == 0


def test_a_read_returns_what_is_there_now(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id) as producer:
        consumer = streams.open(conv_id)
        assert consumer.read() == b''
        producer.write(b'abcdef')
        assert consumer.read() == b'abcdef'
        assert consumer.read(2, 3) == b'cde'
        assert consumer.read(6) == consumer.read(7) == b''
        assert consumer.read((1 << 63) - 1) == b''


def test_a_read_of_what_is_lost_says_what_is_left(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id, capacity=4096) as producer:
        producer.write(b'x' * 5000)
        consumer = streams.open(conv_id)
        with pytest.raises(OffsetLost) as lost:
            consumer.read(903)
        assert (lost.value.offset, lost.value.dropped_prefix) == (903, 904)
        assert lost.value.total_bytes == 5000
        assert len(consumer.read(904)) == 4096


# -- following -------------------------------------------------------------------------


def test_a_follower_gets_the_rest_and_ends_with_the_stream(
    streams: Streams, conv_id: str, follow: Follow
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'abc')
    consumer = streams.open(conv_id)
    sides = [Aside(follow, consumer.follow(offset)) for offset in range(4)]
    assert listens(consumer, 4)
    producer.write(b'def')
    producer.write(b'ghi')
    producer.finish()
    for offset, side in enumerate(sides):
        assert side.result() == b'abcdefghi'[offset:]
        assert side.follower.offset == 9
    assert consumer.follow(9).offset == 9
    assert follow(consumer.follow(9)) == b''
    assert follow(consumer.follow(100)) == b''
    assert listens(consumer, 0)


@pytest.mark.parametrize('end', ['finish', 'cancel', 'abort', 'evict', 'replace'])
def test_every_end_ends_every_follower_soon(
    streams: Streams, conv_id: str, follow: Follow, end: str
) -> None:
    producer = streams.create(conv_id, content_type='text/plain')
    producer.write(b'abc')
    consumer = streams.open(conv_id)
    # The producer must notice by itself.
    producer.on_cancel(producer.finish)
    side = Aside(follow, consumer.follow())
    assert listens(consumer)
    with Stopwatch() as since_the_end:
        match end:
            case 'finish' | 'cancel':
                getattr(producer, end)()
            case 'abort':
                producer.abort('why')
            case 'evict':
                streams.evict(conv_id)
            case 'replace':
                streams.create(conv_id).finish()
        assert side.result() == b'abc'
    assert since_the_end.seconds < SOON_S


def test_bytes_that_come_with_the_end_while_it_looks_are_not_lost(
    streams: Streams, conv_id: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = streams.create(conv_id)
    read = Watch.read
    calls = []

    def read_and_then_all_happens(watch: Watch, offset: int) -> bytes:
        data = read(watch, offset)
        calls.append(offset)
        if len(calls) == 1:
            producer.write(b'last words')
            producer.finish()
        return data

    monkeypatch.setattr(Watch, 'read', read_and_then_all_happens)
    assert follow(streams.open(conv_id).follow()) == b'last words'
    assert calls[0] == 0


def test_a_follower_may_begin_beyond_the_end(
    streams: Streams, conv_id: str, follow: Follow
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'abc')
    consumer = streams.open(conv_id)
    side = Aside(follow, consumer.follow(5))
    assert listens(consumer)
    producer.write(b'd')
    producer.write(b'efgh')
    producer.finish()
    assert side.result() == b'fgh'


def test_what_another_process_writes_is_followed_from_any_offset(
    streams: Streams, conv_id: str, follow: Follow, hire: Callable[[], Worker]
) -> None:
    rng = random.Random(conv_id)
    writer = hire()
    writer.create(conv_id)
    writer.order('write', conv_id, 'x' * 1000)
    consumer = streams.open(conv_id)
    offsets = [0, *(rng.randrange(2000) for _ in range(8))]
    sides = [Aside(follow, consumer.follow(offset)) for offset in offsets]
    whole = 'x' * 1000
    for number in range(300):
        text = chr(97 + number % 26) * rng.randrange(1, 60)
        writer.order('write', conv_id, text)
        whole += text
    writer.order('finish', conv_id)
    assert len(whole) > 2000
    for offset, side in zip(offsets, sides, strict=True):
        assert side.result().decode() == whole[offset:]


def test_a_follower_that_is_overtaken_is_told_and_can_go_on(
    streams: Streams, conv_id: str, follow: Follow
) -> None:
    producer = streams.create(conv_id, capacity=4096)
    producer.write(b'x' * 5000)
    consumer = streams.open(conv_id)
    follower = consumer.follow(10)
    with pytest.raises(OffsetLost) as lost:
        follow(follower)
    assert (lost.value.offset, lost.value.dropped_prefix) == (10, 904)
    assert follower.offset == 10
    assert listens(consumer, 0)
    producer.finish()
    assert len(follow(consumer.follow(lost.value.dropped_prefix))) == 4096


def test_a_follower_is_overtaken_between_two_steps(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id, capacity=4096)
    producer.write(b'abc')
    follower = streams.open(conv_id).follow()
    assert next(follower) == b'abc'
    producer.write(b'y' * 5000)
    with pytest.raises(OffsetLost) as lost:
        next(follower)
    assert (lost.value.offset, lost.value.dropped_prefix) == (3, 907)
    # It is not the end, however often it is asked.
    with pytest.raises(OffsetLost):
        next(follower)
    producer.finish()
