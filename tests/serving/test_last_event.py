"""F93: a client that names the last event it has gets what comes after it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmstream import Consumer, OffsetLost, Streams
from shmstream.serving import event_search, last_event
from shmstream.serving.reply import Blocking, Ended, Live, Reply
from tests.serving.test_get_head_delete import ask, error, reply_to, sent


class Text:
    """A stream as the search sees it."""

    content_type = 'text/event-stream; charset=utf-8'

    def __init__(self, data: bytes, dropped: int = 0) -> None:
        self._data = data
        self.dropped_prefix = dropped
        self.total_bytes = len(data)

    def read(self, offset: int, limit: int) -> bytes:
        assert self.dropped_prefix <= offset
        return self._data[offset : offset + limit]


def after(data: bytes, event_id: bytes, dropped: int = 0) -> bytes | None:
    """What is replayed of these bytes; None if the event is lost."""
    stream = cast(Consumer, Text(data, dropped))
    try:
        return data[last_event.offset_after(stream, event_id) :]
    except OffsetLost:
        return None


ENDS = st.sampled_from([b'\n', b'\r\n', b'\r'])
IDS = st.text('ab1 -:', min_size=1, max_size=4).map(str.strip).filter(bool)


@st.composite
def streams_of_events(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Events, each with an id of its own, in one way of ending lines."""
    end = draw(ENDS)
    events = []
    for event_id in draw(st.lists(IDS, min_size=1, max_size=6, unique=True)):
        raw = event_id.encode()
        space = draw(st.sampled_from([b'', b' ']))
        lines = [b'id:' + space + raw, b'data: id: ' + raw, b'data:' + raw, b': id: 1']
        event = end.join(draw(st.permutations(lines))) + end + end
        events.append((raw, event))
        if draw(st.booleans()):
            events.append((b'', b': a comment' + end + end))
    return events


@given(events=streams_of_events(), piece=st.integers(1, 40))
def test_f93_it_goes_on_after_the_event_wherever_that_is_cut(
    events: list[tuple[bytes, bytes]], piece: int
) -> None:
    data = b''.join(event for _, event in events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_search, '_PIECE', piece)
        at = 0
        for event_id, event in events:
            at += len(event)
            if event_id:
                assert after(data, event_id) == data[at:]
        assert after(data, b'none of them') is None


@pytest.mark.parametrize(
    ('data', 'event_id', 'rest'),
    [
        (b'id: 1\ndata: a\n\nid: 10\ndata: b\n\n', b'1', b'id: 10\ndata: b\n\n'),
        (b'id: 10\ndata: a\n\nid: 1\ndata: b\n\nc', b'1', b'c'),
        (b'data: id: 1\n\n', b'1', None),
        (b'xid: 1\n\n', b'1', None),
        (b'data: grid\nid: 1\n\nx', b'1', b'x'),
        (b'id:  1\n\n', b'1', None),
        (b'id: 1 \t\n\nx', b'1', b'x'),
        (b'id: 1\n\nx', b' 1\t', b'x'),
        (b'id: \xc3\xa9\n\nx', b'\xc3\xa9', b'x'),
        (b'id: .*\n\nx', b'.*', b'x'),
        (b'id: ab\n\nx', b'.*', None),
        (b'id: 1', b'1', None),
        # Several times: the first, so that none is missed.
        (b'id: 1\ndata: a\n\nid: 1\ndata: b\n\n', b'1', b'id: 1\ndata: b\n\n'),
        # Without its end: nobody has it.
        (b'data: a\n\nid: 1\ndata: b\n', b'1', b'id: 1\ndata: b\n'),
        (b'event: x\nid: 1\ndata: b\n', b'1', b'event: x\nid: 1\ndata: b\n'),
        (b'id: 1\r\n\r\n', b'1', b''),
        (b'', b'1', None),
    ],
)
def test_f93_what_is_an_id_and_what_only_looks_like_one(
    data: bytes, event_id: bytes, rest: bytes | None
) -> None:
    assert after(data, event_id) == rest


def test_f93_half_a_line_at_the_beginning_of_what_is_left_is_none() -> None:
    data = b'data: x\ndata: grid: 1\n\nid: 2\n\nid: 1\n\nrest'
    assert after(data, b'1', dropped=data.index(b'id: 1')) == b'rest'
    assert after(data, b'2', dropped=data.index(b'id: 2')) is None
    assert after(data, b'2', dropped=data.index(b'id: 2') - 1) == b'id: 1\n\nrest'


def numbered(count: int) -> tuple[bytes, dict[int, int]]:
    """Events with ids, and where each ends."""
    data, ends = b'', {}
    for number in range(count):
        data += b'id: 17-%d\ndata: %d\n\n' % (number, number)
        ends[number] = len(data)
    return data, ends


def named(number: int) -> list[tuple[bytes, bytes]]:
    return [(b'last-event-id', b'17-%d' % number)]


@pytest.mark.parametrize('number', [0, 7, 1999])
def test_f93_a_replay_begins_there_and_says_where_that_is(
    streams: Streams, conv_id: str, number: int
) -> None:
    data, ends = numbered(2000)
    with streams.create(conv_id) as producer:
        producer.write(data)
        live = reply_to(streams, conv_id, headers=named(number))
        assert isinstance(live.body, Live)
        assert live.body.offset - len(live.body.first) == ends[number]
        assert dict(live.headers)[b'stream-offset'] == b'%d' % ends[number]
    for method in ('GET', 'HEAD'):
        reply = reply_to(streams, conv_id, method, headers=named(number))
        rest = data[ends[number] :]
        assert dict(reply.headers)[b'content-length'] == b'%d' % len(rest)
        assert sent(reply) == (rest if method == 'GET' else b'')
    # An offset wins, and an empty id is none.
    assert sent(reply_to(streams, f'{conv_id}?from=0', headers=named(number))) == data
    empty = [(b'last-event-id', b'')]
    assert sent(reply_to(streams, conv_id, headers=empty)) == data


def test_f93_an_event_that_is_not_there_is_an_offset_that_is_lost(
    streams: Streams, conv_id: str
) -> None:
    data, _ = numbered(4000)
    with streams.create(conv_id, capacity=4096) as producer:
        producer.write(data)
    for number in (0, 5000):
        told = error(reply_to(streams, conv_id, headers=named(number)))
        assert told['code'] == 400
        assert told['message'] == 'Stream offset lost, please restart'
        assert told['total_bytes'] == len(data)
        assert told['dropped_prefix'] == len(data) - 4096
    rest = sent(reply_to(streams, conv_id, headers=named(3999)))
    assert rest == b''


def test_f93_only_event_streams_have_ids(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id, content_type='application/x-ndjson') as producer:
        producer.write(b'{"a": 1}\nid: 17-1\n\n')
    told = error(reply_to(streams, conv_id, headers=named(1)))
    assert (told['code'], told['dropped_prefix']) == (400, 0)


def test_f93_megabytes_are_searched_aside(streams: Streams, conv_id: str) -> None:
    data, ends = numbered(20_000)
    assert len(data) > event_search.AT_ONCE
    with streams.create(conv_id, capacity=1 << 20) as producer:
        producer.write(data)
    for number, status in ((15_000, 200), (30_000, 400)):
        later: Any = ask(streams, conv_id, headers=named(number))
        assert isinstance(later, Blocking)
        reply = later.work()
        assert isinstance(reply, Reply)
        assert reply.status == status
        if status == 200:
            assert isinstance(reply.body, Ended)
            assert sent(reply) == data[ends[number] :]
