"""F04: a stream that has come to the last offsets that there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest

from shmstream import OffsetLost, Producer, Streams
from shmstream.memory.segment_writer import segment_writer
from shmstream.ring.layout import W_COUNTED, W_DROPPED, W_HEAD, W_RESERVED
from tests.support.leaks import wait_until
from tests.support.worker import Worker

END = 1 << 63
"""Offsets are below it."""


def put_at(producer: Producer, head: int) -> None:
    """Have the stream go on as if so many bytes had entered it already."""
    segment = producer._segment
    os.posix_fallocate(producer._file.fileno(), 0, 4096 + segment.capacity)
    segment.words[W_RESERVED] = segment.capacity
    segment.words[W_HEAD] = segment.words[W_DROPPED] = head
    segment.words[W_COUNTED] = head
    producer._ring = segment_writer(segment, producer._file.fileno())


def has_come_to(reader: Worker, conv_id: str, offset: int) -> bool:
    return bool(reader.order('followed_to', conv_id) == offset)


@pytest.mark.parametrize('before', [100_000, 65_536, 65_535, 3000])
def test_f04_a_stream_that_ends_at_the_last_offset_is_followed_to_it(
    streams: Streams, conv_id: str, hire: Callable[[], Worker], before: int
) -> None:
    """By another process, byte by byte and asleep in between; and read afterwards."""
    producer = streams.create(conv_id)
    start = END - before
    put_at(producer, start)
    reader = hire()
    reader.follow(conv_id, start)
    assert wait_until(lambda: producer.followers == 1)
    text = bytes(33 + i % 90 for i in range(before - 1))
    written = 0
    # In steps that wake the reader, then at once what is left, beyond the ring's wrap.
    for size in (1, 999, 1000, before - 1 - 2000):
        producer.write(text[written : written + size])
        written += size
        if written < 65_536:
            assert wait_until(partial(has_come_to, reader, conv_id, start + written))
    producer.finish()
    consumer = streams.open(conv_id)
    assert (consumer.total_bytes, written) == (END - 1, before - 1)
    kept = min(before - 1, 65_536)
    assert consumer.read(END - 1 - kept) == text[-kept:]
    assert consumer.read(END - 2) == text[-1:]
    assert consumer.read(END - 1) == b''
    found = reader.followed(conv_id)
    if before <= 65_536:
        assert found['data'].encode() == text
    else:
        # What came at once was more than the ring: it may have been overtaken.
        assert found['error'] is None or 'OffsetLost' in found['error']
        assert text.startswith(found['data'].encode())
        with pytest.raises(OffsetLost) as lost:
            consumer.read(start)
        assert lost.value.dropped_prefix == END - 1 - 65_536
    (told,) = streams.lookup([conv_id])
    assert (told['total_bytes'], told['dropped_prefix']) == (
        END - 1,
        max(start, END - 1 - 65_536),
    )
