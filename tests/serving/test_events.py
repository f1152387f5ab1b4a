"""The events of a stream, as an ``EventSource`` gets them: no server, no event loop."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmstream import Consumer, Producer, State, Streams, SupervisorUnavailable
from shmstream.serving import event_framer as framing
from shmstream.serving.event_framer import EventFramer
from shmstream.serving.reply import Blocking, Cut, Live, Pending, Reply
from tests.serving.test_get_head_delete import ask, error, reply_to
from tests.support.event_source import Dispatched, EventStream, events_of

LINES = 'application/x-ndjson'
MARK = b'\xef\xbb\xbf'
ENDS = st.sampled_from([b'\n', b'\r\n', b'\r'])
WORDS = st.text('ab: {}"é', max_size=6)
LINE = st.one_of(
    WORDS.map(lambda text: f'data: {text}'),
    WORDS.map(lambda text: f'data:{text}'),
    st.sampled_from(['id: 7', 'id:7', 'id', 'event: delta', 'event: error', 'event']),
    st.sampled_from([': comment', 'retry: 5', 'identity: 5', 'data', 'event:end']),
)


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Lines, each ended in a way of its own, and the blank line."""
    lines = draw(st.lists(LINE, min_size=1, max_size=4))
    return b''.join(line.encode() + draw(ENDS) for line in lines) + draw(ENDS)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A stream: a byte order mark or none, blocks, and half a block or none."""
    mark = draw(st.sampled_from([b'', MARK]))
    tail = draw(st.sampled_from([b'', b'data: tail', b'data: tail\n', b'data: 1\r\n']))
    return mark + b''.join(draw(st.lists(blocks(), max_size=5))) + tail


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The pieces of these bytes; none is empty."""
    ends = sorted({min(at, len(data)) for at in cuts} | {len(data)} - {0})
    return [p for p in (data[a:b] for a, b in zip([0, *ends], ends, strict=False)) if p]


OURS = ('error', 'end', 'lost', 'replaced')


def as_told(events: list[Dispatched]) -> list[tuple[str, str]]:
    """Names and data, as the events route gives them: some names are its own."""
    return [
        ('message' if event.name in OURS else event.name, event.data)
        for event in events
    ]


def as_written(data: bytes) -> list[tuple[str, str]]:
    """What a client makes of the stream itself, if its last event were ended."""
    text = data.removeprefix(MARK)
    return as_told(events_of(text.rstrip(b'\r\n') + b'\n\n' if text else b''))


def events_from(streams: Streams, path: str, last: str = '') -> list[Dispatched]:
    """The events of a reply, to the end of its stream."""
    headers = [(b'last-event-id', last.encode())] if last else []
    return events_of(body_of(reply_to(streams, path, headers=headers)))


def body_of(reply: Reply) -> bytes:
    """What is sent, to the end of the stream."""
    assert reply.status == 200
    assert dict(reply.headers)[b'content-type'] == b'text/event-stream'
    if isinstance(reply.body, bytes):
        assert dict(reply.headers)[b'content-length'] == b'%d' % len(reply.body)
        return reply.body
    assert isinstance(reply.body, Live)
    return reply.body.first + b''.join(reply.body.follow())


def ended(streams: Streams, conv_id: str, data: bytes, **more: Any) -> Producer:
    """Make a stream that has come to its end."""
    producer = streams.create(conv_id, **more)
    producer.write(data)
    producer.finish()
    return producer


@given(data=written(), cuts=st.lists(st.integers(1, 80), max_size=6))
def test_events_go_out_as_they_were_written_each_with_its_end(
    streams: Streams, data: bytes, cuts: list[int]
) -> None:
    """However the stream is cut; and from each id on the rest comes, and no more."""
    with ended(streams, 'any', data) as producer:
        framer = EventFramer(streams.consumer_of(producer), 0)
        sent = [*map(framer.feed, cut(data, cuts)), framer.end()]
        parser = EventStream()
        found = parser.feed(b''.join(sent))
        assert found.pop().name == 'end'
        assert as_told(found) == as_written(data)
        # Some clients take each blank line for an event, so there is one for each id.
        ids = re.findall(rb'(?:\A|[\r\n])id: ', b''.join(sent))
        assert parser.blank_lines == len(ids)
        for number, event in enumerate(found):
            headers = [(b'last-event-id', event.id.encode())]
            reply = reply_to(streams, 'any?as=events', headers=headers)
            rest = events_of(body_of(reply))[:-1] if reply.status == 200 else []
            # An id may be that of a CR whose LF comes with the next bytes.
            assert as_told(rest) == as_told(found[number + 1 :])


OBJECTS = st.dictionaries(st.sampled_from('ab'), st.integers(0, 9), max_size=2)


@given(
    objects=st.lists(OBJECTS, max_size=5),
    ends=st.lists(st.sampled_from([b'\n', b'\r\n', b'\n\n']), min_size=5, max_size=5),
    cuts=st.lists(st.integers(1, 80), max_size=6),
)
def test_each_json_line_is_an_event(
    streams: Streams, objects: list[Any], ends: list[bytes], cuts: list[int]
) -> None:
    lines = [json.dumps(each).encode() for each in objects]
    data = b''.join(a + b for a, b in zip(lines, ends, strict=False))
    with ended(streams, 'lines', data, content_type=LINES) as producer:
        framer = EventFramer(streams.consumer_of(producer), 0)
        sent = b''.join(framer.feed(piece) for piece in cut(data, cuts))
        *events, _ = events_of(sent + framer.end())
    assert [json.loads(event.data) for event in events] == objects


def test_an_id_comes_after_the_data(streams: Streams, conv_id: str) -> None:
    """A client that takes an id at its line must not take one of half an event."""
    with ended(streams, conv_id, b'event: a\nid: 17\ndata: 1\n\n: hi\n\n') as producer:
        told = producer.generation
        sent = body_of(reply_to(streams, f'{conv_id}?as=events'))
    assert sent.split(b'event: end')[0] == (
        f'retry: 1000\nevent: a\ndata: 1\nid: {told}-25\n\n: hi\n'.encode()
    )


@pytest.mark.parametrize('how', ['finish', 'cancel', 'abort'])
def test_the_end_is_told_and_no_event_is_named_error(
    streams: Streams, conv_id: str, how: str
) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'data: 1\n\n')
        producer.abort('no more') if how == 'abort' else getattr(producer, how)()
        *events, end = events_from(streams, f'{conv_id}?as=events')
    assert [event.data for event in events] == ['1']
    assert end.name == 'end'
    consumer = streams.open(conv_id)
    told = {'state': consumer.state.label, 'total_bytes': consumer.total_bytes}
    found = json.loads(end.data)
    if how == 'abort':
        assert found.pop('error')['message'] == 'no more'
    assert found == told
    assert end.id == f'{consumer.generation}-{consumer.total_bytes}'
    # Who has all of it comes no more.
    headers = [(b'last-event-id', end.id.encode())]
    reply = reply_to(streams, f'{conv_id}?as=events', headers=headers)
    assert (reply.status, reply.body) == (204, b'')
    query = f'{conv_id}?as=events&last_event_id={end.id}'
    assert reply_to(streams, query).status == 204


def test_an_error_in_mid_stream_is_an_event_like_others(
    streams: Streams, conv_id: str
) -> None:
    data = b'event: error\ndata: 1\n\ndata: 2\n\n'
    with ended(streams, conv_id, data):
        *events, end = events_from(streams, f'{conv_id}?as=events')
    assert [(e.name, e.data) for e in events] == [('message', '1'), ('message', '2')]
    assert 'error' not in json.loads(end.data)


def test_a_failure_without_data_hides_no_other(streams: Streams, conv_id: str) -> None:
    data = b'event: error\ndata: 1\n\nevent: error\n\n'
    with ended(streams, conv_id, data):
        event, end = events_from(streams, f'{conv_id}?as=events')
    assert (event.name, event.data, end.name) == ('message', '1', 'end')


def test_a_json_line_that_tells_the_failure_is_told_by_the_end(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id, content_type=LINES) as producer:
        producer.write(b'{"a": 1}\n')
        producer.abort('no more')
    *events, end = events_from(streams, f'{conv_id}?as=events')
    assert [event.data for event in events] == ['{"a": 1}']
    assert json.loads(end.data)['error']['message'] == 'no more'


def test_a_cr_within_a_json_line_ends_nothing(streams: Streams, conv_id: str) -> None:
    """It is white space there; here the line could write an id of its own choosing."""
    data = MARK + b'{"a":\r\rid: ffffffffffffffff-5\r\rdata: 1}\n{"a":\r1}\n'
    with ended(streams, conv_id, data, content_type=LINES) as producer:
        *events, _ = events_from(streams, f'{conv_id}?as=events')
    assert [event.id[:16] for event in events] == [producer.generation] * 2
    assert json.loads(events[1].data) == {'a': 1}


def test_json_lines_are_one_event_each(streams: Streams, conv_id: str) -> None:
    data = b'{"a": 1}\r\n\n{"a": 2}\n{"a"'
    with ended(streams, conv_id, data, content_type=LINES):
        *events, _ = events_from(streams, f'{conv_id}?as=events')
    assert [event.data for event in events] == ['{"a": 1}', '{"a": 2}', '{"a"']
    assert [int(event.id[17:]) for event in events] == [10, 20, 24]


def test_what_has_no_events_is_refused(streams: Streams, conv_id: str) -> None:
    with ended(streams, conv_id, b'x', content_type='text/plain'):
        reply = reply_to(streams, f'{conv_id}?as=events')
    assert reply.status == 406
    assert 'text/plain' in error(reply)['message']


@pytest.mark.parametrize(
    'last', ['7', 'x' * 16 + '-7', '0' * 16 + '-' + '9' * 19, '0' * 16 + '--1']
)
def test_an_id_that_nobody_gave_out_is_refused(
    streams: Streams, conv_id: str, last: str
) -> None:
    with ended(streams, conv_id, b'data: 1\n\n'):
        headers = [(b'last-event-id', last.encode())]
        assert reply_to(streams, f'{conv_id}?as=events', headers=headers).status == 400


def test_one_beyond_the_end_is_refused(streams: Streams, conv_id: str) -> None:
    with ended(streams, conv_id, b'data: 1\n\n') as producer:
        query = f'{conv_id}?as=events&last_event_id={producer.generation}-10'
        assert reply_to(streams, query).status == 400


def test_the_header_wins(streams: Streams, conv_id: str) -> None:
    """The address still has the id of the first connection when a browser is back."""
    with ended(streams, conv_id, b'data: 1\n\ndata: 2\n\n') as producer:
        told = producer.generation
        path = f'{conv_id}?as=events&last_event_id={told}-0'
        events = events_from(streams, path, f'{told}-9')
    assert [event.data for event in events[:-1]] == ['2']


def test_another_stream_under_the_same_id_begins_anew(
    streams: Streams, conv_id: str
) -> None:
    with ended(streams, conv_id, b'data: old\n\n') as old:
        with ended(streams, conv_id, b'data: new\n\n') as new:
            last = f'{old.generation}-11'
            replaced, event, end = events_from(streams, f'{conv_id}?as=events', last)
        assert replaced.name == 'replaced'
        assert json.loads(replaced.data) == {'generation': new.generation}
        assert (event.data, end.name) == ('new', 'end')


def test_what_the_ring_has_dropped_is_told(streams: Streams, conv_id: str) -> None:
    """The rest begins with the first event that is whole."""
    size = 65536
    event = b'data: %s\n\n' % (b'x' * 1000)
    with streams.create(conv_id, capacity=size) as producer:
        for _ in range(2 * size // len(event)):
            producer.write(event)
        producer.finish()
        total, dropped = producer.total_bytes, streams.open(conv_id).dropped_prefix
        last = f'{producer.generation}-{len(event)}'
        lost, *events, end = events_from(streams, f'{conv_id}?as=events', last)
    assert lost.name == 'lost'
    assert json.loads(lost.data) == {'dropped_prefix': dropped, 'total_bytes': total}
    assert {len(event.data) for event in events} == {1000}
    assert len(events) == (total - dropped) // len(event)
    assert end.name == 'end'


@pytest.mark.parametrize('kind', ['text/event-stream', LINES])
def test_of_an_event_whose_beginning_is_lost_nothing_is_told(
    streams: Streams, conv_id: str, kind: str
) -> None:
    """The ring holds a part of one event, and nothing else."""
    rest, following = b'\ndata: 1\n\n', b'data: 2\n\n'
    if kind == LINES:
        rest, following = b'1\n', b'2\n'
    with streams.create(conv_id, capacity=4096, content_type=kind) as producer:
        for _ in range(3):
            producer.write(b'x' * 4096)
        reply = reply_to(streams, f'{conv_id}?as=events')
        assert isinstance(reply.body, Live)
        producer.write(rest + following)
        producer.finish()
        lost, event, last = events_of(reply.body.first + b''.join(reply.body.follow()))
    assert (lost.name, event.data, last.name) == ('lost', '2', 'end')


def test_what_is_dropped_while_it_is_read_is_no_refusal(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ``EventSource`` gives up at a 400, and it is late as it is."""
    with streams.create(conv_id, capacity=4096) as producer:
        producer.write(b'data: 1\n\n')
        really, dropping = Consumer.read, [b'x' * 5000, b'x' * 100, b'x' * 100]

        def read(self: Consumer, *where: int) -> bytes:
            if dropping:
                producer.write(dropping.pop(0))
            return really(self, *where)

        monkeypatch.setattr(Consumer, 'read', read)
        comes_back(reply_to(streams, f'{conv_id}?as=events'))
        assert reply_to(streams, f'{conv_id}?as=events').status == 200


@pytest.mark.parametrize('tail', [b'\n\n', b''], ids=['an end', 'no end'])
def test_an_event_that_is_too_long_is_lost_at_the_end_too(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch, tail: bytes
) -> None:
    monkeypatch.setattr(framing, 'MAX_EVENT', 100)
    data = b'data: %s' % (b'x' * 500) + tail
    with ended(streams, conv_id, data) as producer:
        framer = EventFramer(streams.consumer_of(producer), 0)
        sent = b''.join(framer.feed(piece) for piece in cut(data, [200, 400]))
        sent += framer.end()
    assert [event.name for event in events_of(sent)] == ['lost', 'end']


def test_an_event_that_is_too_long_is_lost_and_the_next_is_not(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, 'MAX_EVENT', 100)
    data = b'data: 1\n\ndata: %s\n\ndata: 2\n\n' % (b'x' * 500)
    with ended(streams, conv_id, data) as producer:
        framer = EventFramer(streams.consumer_of(producer), 0)
        sent = b''.join(framer.feed(piece) for piece in cut(data, [200, 400, 515]))
    events = events_of(sent)
    assert [(event.name, event.data) for event in events if event.name != 'lost'] == [
        ('message', '1'),
        ('message', '2'),
    ]
    assert [event.name for event in events] == ['message', 'lost', 'message']


def test_what_others_answer_by_503_is_200_and_a_cut(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ``EventSource`` gives up at a 503."""
    with streams.create(conv_id, pending=True):
        pending = ask(streams, f'{conv_id}?as=events')
        assert isinstance(pending, Pending)
        comes_back(pending.go_on(None))
    assert reply_to(streams, f'{conv_id}-never?as=events').status == 404

    def refuse(*_: object, **__: object) -> None:
        raise SupervisorUnavailable('no supervisor')

    monkeypatch.setattr(streams, 'open', refuse)
    monkeypatch.setattr(streams, 'evict', refuse)
    comes_back(reply_to(streams, f'{conv_id}?as=events'))
    assert reply_to(streams, conv_id).status == 503
    # Whoever stops a stream has to learn that it goes on.
    stop = ask(streams, f'{conv_id}?as=events', 'DELETE')
    assert isinstance(stop, Blocking)
    assert stop.work().status == 503


def comes_back(reply: Reply) -> None:
    assert reply.status == 200
    headers = dict(reply.headers)
    assert headers[b'content-type'] == b'text/event-stream'
    assert headers[b'cache-control'] == b'no-store, no-transform'
    assert b'content-length' not in headers
    assert isinstance(reply.body, Cut)
    parser = EventStream()
    assert parser.feed(reply.body.data) == []
    assert (parser.retry_ms, parser.comments, parser.blank_lines) == (1000, 1, 0)


def test_followers_at_one_offset_share_the_framing(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many readers an event has, a worker frames it once."""
    framed: list[bytes] = []
    really = EventFramer._event

    def noted(self: EventFramer, event: bytes, end: int) -> bytes:
        framed.append(event)
        return really(self, event, end)

    monkeypatch.setattr(EventFramer, '_event', noted)
    with streams.create(conv_id) as producer:
        replies = [reply_to(streams, f'{conv_id}?as=events') for _ in range(5)]
        bodies = [reply.body for reply in replies]
        followers = [body.follow() for body in bodies if isinstance(body, Live)]
        producer.write(b'data: first\n\n')
        assert len({next(follower) for follower in followers}) == 1
        # The first reader was alone when it read that.
        framed.clear()
        for number in range(3):
            producer.write(b'data: %d\n\n' % number)
            assert len({next(follower) for follower in followers}) == 1
        for follower in followers:
            follower.close()
    assert framed == [b'data: 0\n\n', b'data: 1\n\n', b'data: 2\n\n']


def test_in_silence_a_comment_is_sent(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventFramer, 'beat_s', 0.05)
    with streams.create(conv_id) as producer:
        reply = reply_to(streams, f'{conv_id}?as=events')
        assert isinstance(reply.body, Live)
        with reply.body.follow() as follower:
            assert next(follower) == b': ping\n'
            producer.write(b'data: 1\n\n')
            while b'data: 1' not in (found := next(follower)):
                assert found == b': ping\n'


def test_bytes_that_become_nothing_are_a_silence(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long event that comes slowly, or the upstream's own keep-alives."""
    monkeypatch.setattr(EventFramer, 'beat_s', 0.2)
    with streams.create(conv_id, content_type=LINES) as producer:
        reply = reply_to(streams, f'{conv_id}?as=events')
        assert isinstance(reply.body, Live)
        writes = threading.Thread(target=write_blanks, args=(producer,))
        writes.start()
        with reply.body.follow() as follower:
            assert next(follower) == b': ping\n'
        producer.finish()
        writes.join()


def write_blanks(producer: Producer) -> None:
    """Write as long as it can be written, slowly, as keep-alives come."""
    while producer.state is State.LIVE:
        producer.write(b'\n')
        time.sleep(0.01)


@pytest.mark.parametrize('refuses', [True, False])
def test_on_a_loop_all_is_sent_once_and_comments_in_silence(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    """Whether or not it can be written at once."""
    monkeypatch.setattr(EventFramer, 'beat_s', 0.05)
    sent: list[bytes] = []

    async def work(producer: Producer) -> None:
        reply = reply_to(streams, f'{conv_id}?as=events')
        assert isinstance(reply.body, Live)
        beaten = asyncio.Event()

        async def send(data: bytes) -> None:
            await asyncio.sleep(0)
            sent.append(data)
            if data == b': ping\n':
                beaten.set()

        def write(data: bytes) -> bool:
            if not refuses:
                sent.append(data)
            return not refuses

        with reply.body.follow() as follower:
            delivery = asyncio.ensure_future(follower.deliver(send, write))
            await beaten.wait()
            for number in range(20):
                producer.write(b'data: %d' % number)
                await asyncio.sleep(0.001)
                producer.write(b'\n\n')
                await asyncio.sleep(0.001)
            await asyncio.to_thread(producer.finish)
            await delivery

    with streams.create(conv_id) as producer:
        asyncio.run(work(producer))
    *events, end = events_of(b''.join(sent))
    assert [event.data for event in events] == [str(number) for number in range(20)]
    assert end.name == 'end'
