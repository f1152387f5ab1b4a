"""``Range``: the rest of a stream that has ended, from an offset on."""

from __future__ import annotations

import pytest

from shmstream import Streams
from shmstream.serving.reply import Live, Reply
from tests.serving.test_get_head_delete import error, finished, reply_to, sent

RANGES = [
    (b'bytes=0-', 0),
    (b'bytes=1-', 1),
    (b'Bytes=009-', 9),
    (b'bytes=70000-', 70_000),
]
NO_RANGES = [
    b'bytes=1-5',
    b'bytes=-5',
    b'bytes=1-,3-',
    b'bytes=1-, 3-4',
    b'bytes=-',
    b'bytes 1-',
    b'lines=1-',
    b'bytes=+1-',
    b'',
]


def ranged(streams: Streams, path: str, value: bytes, method: str = 'GET') -> Reply:
    return reply_to(streams, path, method, headers=[(b'range', value)])


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
@pytest.mark.parametrize(('value', 'first'), RANGES)
def test_a_range_of_what_has_ended(
    streams: Streams, conv_id: str, method: str, value: bytes, first: int
) -> None:
    data = finished(streams, conv_id, 150_000)
    reply = ranged(streams, conv_id, value, method)
    headers = dict(reply.headers)
    assert reply.status == 206
    assert headers[b'content-range'] == b'bytes %d-149999/150000' % first
    assert headers[b'content-length'] == b'%d' % (150_000 - first)
    assert headers[b'stream-offset'] == b'%d' % first
    assert sent(reply) == (data[first:] if method == 'GET' else b'')
    assert (b'stream-total-bytes' in headers) == (method == 'HEAD')


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
@pytest.mark.parametrize('size', [0, 10])
def test_a_range_beyond_the_end(
    streams: Streams, conv_id: str, method: str, size: int
) -> None:
    finished(streams, conv_id, size)
    for number in (b'%d' % size, b'11', b'9' * 19, b'9' * 8000):
        reply = ranged(streams, conv_id, b'bytes=%b-' % number, method)
        assert reply.status == 416
        assert dict(reply.headers)[b'content-range'] == b'bytes */%d' % size
        if method == 'GET':
            assert error(reply)['code'] == 416
        else:
            assert reply.body == b''


def test_a_range_that_begins_in_the_dropped_prefix_is_lost(
    streams: Streams, conv_id: str
) -> None:
    data = finished(streams, conv_id, 1_500_000)
    first = 1_500_000 - (1 << 20)
    assert sent(ranged(streams, conv_id, b'bytes=%d-' % first)) == data[first:]
    lost = error(ranged(streams, conv_id, b'bytes=%d-' % (first - 1)))
    assert (lost['code'], lost['dropped_prefix']) == (400, first)


def test_what_is_no_such_range_is_ignored(streams: Streams, conv_id: str) -> None:
    data = finished(streams, conv_id, 10)
    plain = reply_to(streams, conv_id)
    for value in NO_RANGES:
        reply = ranged(streams, conv_id, value)
        assert (reply.status, reply.headers) == (200, plain.headers)
        assert sent(reply) == data
    # There are no validators that ``If-Range`` could match.
    headers = [(b'range', b'bytes=1-'), (b'if-range', b'"x"')]
    assert sent(reply_to(streams, conv_id, headers=headers)) == data
    # ``from`` says more exactly what is wanted.
    for offset in (0, 3):
        reply = ranged(streams, f'{conv_id}?from={offset}', b'bytes=1-')
        assert (reply.status, sent(reply)) == (200, data[offset:])


def test_a_range_of_what_goes_on_is_ignored(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'12345')
        reply = ranged(streams, conv_id, b'bytes=2-')
        assert reply.status == 200
        assert isinstance(reply.body, Live)
        assert reply.body.first == b'12345'


def test_a_range_of_what_is_cut_is_ignored(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id, content_type='text/plain')
    producer.write(b'12345')
    producer.abort('no more')
    assert streams.open(conv_id).untold_failure
    reply = ranged(streams, conv_id, b'bytes=2-')
    assert reply.status == 200
    assert isinstance(reply.body, Live)
    assert reply.body.offset == 0
