"""A stream is followed over any number of losses: nothing missing, nothing twice."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from typing import Any

import pytest

from shmstream import LocalError, OffsetLost, State, StreamNotFound, StreamReplaced
from shmstream.client import (
    EventTooLong,
    Limits,
    NotResumable,
    Refused,
    StreamFailed,
    Unreachable,
    follow,
)
from tests.client.reading import InThread, OnLoop
from tests.client.turns import (
    Turns,
    answer,
    cut,
    drop,
    lose_after_sending,
    refuse,
)
from tests.http.proxied import Feed, Proxied
from tests.support.client import path
from tests.support.cutting import Cutting
from tests.support.leaks import wait_until

EVENTS = [b'data: {"n": %d}\n\n' % number for number in range(20)]
AT_ONCE = Limits(patience_s=0)
"""The first failure is the last."""


def post_url(port: int) -> str:
    return f'http://127.0.0.1:{port}/v1/chat/completions'


def stream_url(port: int, conv_id: str) -> str:
    return f'http://127.0.0.1:{port}{path(conv_id)}'


def asked(feed: Feed) -> dict[str, Any]:
    return {'stream': True, 'messages': [], 'feed': feed.token}


def finished(proxied: Proxied, conv_id: str, body: bytes, **options: Any) -> None:
    """Make a stream that has ended."""
    with proxied.stream(conv_id, body, **options) as post:
        post.rest()


@pytest.mark.parametrize('cuts', [(), (1,), (3, 2, 5), (20,), (1,) * 10])
def test_an_answer_is_whole_over_any_cuts(
    proxied: Proxied, kind: type[InThread], cuts: tuple[int, ...]
) -> None:
    feed = proxied.feed()
    for event in EVENTS:
        feed.send(event)
    feed.send(b'data: [DONE]\n\n')
    feed.end()
    whole = b''.join(EVENTS) + b'data: [DONE]\n\n'
    with (
        Cutting(proxied.service.port, b'}\n\n', *cuts) as relay,
        kind(post_url(relay.port), json=asked(feed)) as reader,
    ):
        assert [event['n'] for event in reader.each('json')] == list(range(20))
        followed = reader.following
        assert (followed.offset, followed.state) == (len(whole), State.COMPLETE)
        assert followed.resumes == len(cuts)
        assert not followed.connected
        assert followed.generation is not None
        posts = [head for head in relay.requests if head.startswith(b'POST')]
        assert len(posts) == 1
        for head in relay.requests[1:]:
            assert f'generation={followed.generation}'.encode() in head


def test_it_resumes_at_whole_events_wherever_it_is_cut(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """Each connection is cut within an event: the half that has come is read again."""
    whole = b': hello\n\n' + b''.join(EVENTS) + b'data: \xc3\xa4\n\n'
    finished(proxied, 'within', whole)
    with (
        Turns(proxied.service.port, *(cut(50 + n) for n in range(6))) as relay,
        kind(stream_url(relay.port, 'within')) as reader,
    ):
        assert reader.raw() == whole
        assert len(relay.offsets) == 7
        for offset in relay.offsets:
            assert not offset or whole[:offset].endswith(b'\n\n')
        # Each of them has got on, however soon its connection was cut.
        assert sorted(set(relay.offsets)) == relay.offsets
        assert reader.following.resumes == 6


def test_the_offset_is_that_of_what_was_handed_out(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """All events have arrived in one piece, but only two of them are taken."""
    finished(proxied, 'taken', b''.join(EVENTS))
    with kind(stream_url(proxied.service.port, 'taken')) as reader:
        events = reader.events()
        assert [next(events).json()['n'] for _ in range(2)] == [0, 1]
        followed = reader.following
        assert followed.offset == len(b''.join(EVENTS[:2]))
        position = {'offset': followed.offset, 'generation': followed.generation}
    with kind(stream_url(proxied.service.port, 'taken'), **position) as reader:
        assert [event.json()['n'] for event in reader.events()] == list(range(2, 20))


def test_one_iteration_goes_on_where_another_has_stopped(
    proxied: Proxied, kind: type[InThread]
) -> None:
    finished(proxied, 'shapes', b''.join(EVENTS))
    with kind(stream_url(proxied.service.port, 'shapes')) as reader:
        assert next(reader.events()).data == '{"n": 0}'
        assert next(reader.each('json')) == {'n': 1}
        assert next(reader.each('raw_events')) == EVENTS[2]
        assert reader.raw() == b''.join(EVENTS[3:])


def test_json_lines_are_events_too(proxied: Proxied, kind: type[InThread]) -> None:
    lines = b''.join(b'{"n": %d}\n' % number for number in range(5)) + b'{"n": 5}'
    finished(proxied, 'lines', lines, content_type='application/x-ndjson')
    with (
        Cutting(proxied.service.port, b'1}\n', 1) as relay,
        kind(stream_url(relay.port, 'lines')) as reader,
    ):
        assert [line['n'] for line in reader.each('json')] == list(range(6))


def test_a_stream_without_events_is_resumed_at_any_byte(
    proxy: Any, kind: type[InThread]
) -> None:
    proxied: Proxied = proxy(workers=1, STREAM_TYPES='text/plain')
    text = bytes(range(256)) * 8
    finished(proxied, 'plain', text, content_type='text/plain')
    with (
        Turns(proxied.service.port, cut(700), cut(700)) as relay,
        kind(stream_url(relay.port, 'plain')) as reader,
    ):
        assert reader.raw() == text
        assert 0 < relay.offsets[1] < relay.offsets[2] < len(text)
    with (
        kind(stream_url(proxied.service.port, 'plain')) as reader,
        pytest.raises(LocalError, match='no events'),
    ):
        next(reader.events())


def test_a_failure_is_the_last_event_and_the_state(
    proxied: Proxied, kind: type[InThread]
) -> None:
    feed = proxied.feed(first=EVENTS[0])
    with kind(post_url(proxied.service.port), json=asked(feed)) as reader:
        events = reader.events()
        assert next(events).json() == {'n': 0}
        assert reader.following.state.label == 'live'
        feed.break_off()
        (last,) = events
        assert last.event == 'error'
        assert 'error' in last.json()
        assert reader.following.state is State.ABORTED


def test_a_failure_that_cannot_be_told_is_an_exception(
    proxy: Any, kind: type[InThread]
) -> None:
    proxied: Proxied = proxy(workers=1, STREAM_TYPES='text/plain')
    feed = proxied.feed('text/plain', first=b'half')
    with kind(post_url(proxied.service.port), json=asked(feed)) as reader:
        pieces = reader.each('raw')
        assert next(pieces) == b'half'
        feed.break_off()
        with pytest.raises(StreamFailed):
            next(pieces)
        assert reader.following.state is State.ABORTED


def test_a_post_that_is_lost_before_its_answer_is_not_sent_again(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """The client has made up the id, so what it finds there is its own stream."""
    feed = proxied.feed(first=EVENTS[0])
    feed.end()
    with (
        Turns(proxied.service.port, lose_after_sending) as relay,
        kind(post_url(relay.port), json=asked(feed)) as reader,
    ):
        assert [event.data for event in reader.events()] == ['{"n": 0}']
        assert [line.partition('?')[0].partition(' ')[0] for line in relay.asked][
            :2
        ] == ['POST', 'GET']
        assert sum(line.startswith('POST') for line in relay.asked) == 1


def test_a_post_that_has_not_arrived_is_sent_again(
    proxied: Proxied, kind: type[InThread]
) -> None:
    feed = proxied.feed(first=EVENTS[0])
    feed.end()
    with (
        Turns(proxied.service.port, drop) as relay,
        kind(post_url(relay.port), json=asked(feed)) as reader,
    ):
        assert [event.data for event in reader.events()] == ['{"n": 0}']
        methods = [line.partition(' ')[0] for line in relay.asked]
        assert methods[:3] == ['POST', 'GET', 'POST']


def test_a_post_under_an_id_of_the_callers_may_find_another_stream(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """An older answer of the conversation must not be taken for this one."""
    finished(proxied, 'mine', EVENTS[7])
    with (
        Turns(proxied.service.port, drop) as relay,
        kind(post_url(relay.port), json={}, conversation_id='mine') as reader,
    ):
        with pytest.raises(NotResumable, match='/v1/stream/mine'):
            next(reader.events())
        assert len(relay.requests) == 1


@pytest.mark.parametrize('conv_id', ['a/b::m', 'ü', '..', 'a b%?'])
def test_an_id_may_have_any_characters(
    proxied: Proxied, kind: type[InThread], conv_id: str
) -> None:
    feed = proxied.feed(first=EVENTS[0])
    feed.send(EVENTS[1])
    feed.end()
    with (
        Cutting(proxied.service.port, b'}\n\n', 1) as relay,
        kind(post_url(relay.port), json=asked(feed), conversation_id=conv_id) as reader,
    ):
        assert reader.raw() == EVENTS[0] + EVENTS[1]
    assert (
        proxied.client.get(
            path(conv_id) if conv_id != '..' else '/v1/stream?conv_id=..'
        ).body
        == EVENTS[0] + EVENTS[1]
    )


def test_a_stream_that_is_replaced_during_a_loss_is_not_mixed_with_the_new_one(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """1. It is cut after an event. 2. The id gets a new answer. 3. It says so."""
    feed = proxied.feed(first=EVENTS[0])
    with (
        Cutting(proxied.service.port, b'}\n\n', 1) as relay,
        kind(post_url(relay.port), json=asked(feed), conversation_id='turns') as reader,
    ):
        events = reader.events()
        assert next(events).data == '{"n": 0}'
        finished(proxied, 'turns', b''.join(EVENTS[1:]))
        generation = proxied.client.lookup('turns')[0]['generation']
        with pytest.raises(StreamReplaced) as caught:
            next(events)
        assert caught.value.generation == generation


def test_a_stream_that_is_replaced_while_it_is_read_ends(
    proxied: Proxied, kind: type[InThread]
) -> None:
    feed = proxied.feed(first=EVENTS[0])
    url = post_url(proxied.service.port)
    with kind(url, json=asked(feed), conversation_id='turn') as reader:
        events = reader.events()
        next(events)
        finished(proxied, 'turn', EVENTS[1])
        assert list(events) == []
        assert reader.following.state is State.CANCELLED


def test_an_overrun_ring_is_an_error_that_says_so(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """1. It is cut after an event. 2. The ring drops what follows. 3. It says so."""
    feed = proxied.feed(first=EVENTS[0])
    with (
        Cutting(proxied.service.port, b'}\n\n', 1) as relay,
        kind(
            post_url(relay.port), json=asked(feed), conversation_id='overrun'
        ) as reader,
    ):
        events = reader.events()
        next(events)
        for _ in range(40):
            feed.send(b'data: "%s"\n\n' % (b'x' * 8000))

        def dropped() -> bool:
            return bool(proxied.client.lookup('overrun')[0]['dropped_prefix'])

        assert wait_until(dropped)
        with pytest.raises(OffsetLost) as caught:
            next(events)
        assert caught.value.offset == len(EVENTS[0])
        assert caught.value.dropped_prefix > caught.value.offset
        assert caught.value.total_bytes > caught.value.dropped_prefix


def test_503_is_asked_again(proxied: Proxied, kind: type[InThread]) -> None:
    """A worker that leaves, then a proxy that finds none, then another worker."""
    finished(proxied, 'again', b''.join(EVENTS))
    turns = (
        cut(100),
        refuse(503, b'Retry-After: 1', body=b'{"error": {"code": 503}}'),
        refuse(502, body=b'<html>'),
        drop,
    )
    with (
        Turns(proxied.service.port, *turns) as relay,
        kind(stream_url(relay.port, 'again')) as reader,
    ):
        assert reader.raw() == b''.join(EVENTS)
        assert len(relay.requests) == 5
        assert reader.following.resumes == 1


def test_an_answer_that_has_not_begun_is_waited_for(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """1. The model thinks. 2. A reader is told 503 after 5 s. 3. It begins."""
    feed = proxied.feed(pending=True)
    posting = threading.Thread(target=lambda: proxied.post('thinks', feed).close())
    posting.start()
    assert feed.exchange is not None
    with (
        Turns(proxied.service.port) as relay,
        kind(stream_url(relay.port, 'thinks')) as reader,
    ):

        def begin() -> None:
            assert wait_until(lambda: len(relay.requests) > 1)
            feed.begin()
            feed.send(EVENTS[0])
            feed.end()

        beginning = threading.Thread(target=begin)
        beginning.start()
        assert reader.raw() == EVENTS[0]
        beginning.join()
    posting.join()


def test_a_stop_ends_the_stream_for_everybody(
    proxied: Proxied, kind: type[InThread]
) -> None:
    feed = proxied.feed(first=EVENTS[0])
    url = post_url(proxied.service.port)
    with kind(url, json=asked(feed), conversation_id='stop') as reader:
        events = reader.events()
        next(events)
        reader.stop()
        assert list(events) == []
        assert reader.following.state is State.CANCELLED
    assert feed.hung_up()
    assert proxied.client.get(path('stop')).status == 404


def test_a_late_stop_does_not_stop_a_newer_answer(
    proxied: Proxied, kind: type[InThread]
) -> None:
    feed = proxied.feed(first=EVENTS[0])
    url = post_url(proxied.service.port)
    with kind(url, json=asked(feed), conversation_id='late') as reader:
        next(reader.events())
        finished(proxied, 'late', EVENTS[1])
        reader.stop()
    assert proxied.client.get(path('late')).body == EVENTS[1]


def test_a_stop_is_tried_again(proxied: Proxied, kind: type[InThread]) -> None:
    finished(proxied, 'tried', EVENTS[0])
    with (
        Turns(proxied.service.port, drop, refuse(503)) as relay,
        kind(stream_url(relay.port, 'tried')) as reader,
    ):
        reader.stop()
        assert len(relay.requests) == 3
    assert proxied.client.get(path('tried')).status == 404


def test_what_is_not_there_is_an_error(proxied: Proxied, kind: type[InThread]) -> None:
    with (
        kind(stream_url(proxied.service.port, 'nobody')) as reader,
        pytest.raises(StreamNotFound),
    ):
        next(reader.events())


def test_nobody_listens(kind: type[InThread]) -> None:
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
        with kind(stream_url(port, 'x'), limits=AT_ONCE, offset=7) as reader:
            with pytest.raises(Unreachable, match='cannot connect') as caught:
                reader.raw()
            assert caught.value.offset == 7
            with pytest.raises(Unreachable):
                reader.stop()


def test_another_error_is_the_callers(proxied: Proxied, kind: type[InThread]) -> None:
    proxied.script = lambda exchange: exchange.reply(418, b'tea', ('X', 'y'))
    with kind(post_url(proxied.service.port), json={}) as reader:
        with pytest.raises(Refused) as caught:
            reader.raw()
        assert (caught.value.status, caught.value.body) == (418, b'tea')


def test_an_answer_that_is_no_stream_is_read_but_not_resumed(
    proxied: Proxied, kind: type[InThread]
) -> None:
    text = json.dumps({'title': 'x' * 5000}).encode()
    proxied.script = lambda exchange: exchange.reply(200, text)
    with kind(post_url(proxied.service.port), json={}) as reader:
        assert reader.raw() == text
        assert reader.following.generation is None
    with (
        Turns(proxied.service.port, cut(2000)) as relay,
        kind(post_url(relay.port), json={}) as reader,
        pytest.raises(NotResumable, match='no service keeps'),
    ):
        reader.raw()


HEAD = (
    b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 17\r\n'
    b'Stream-State: complete\r\n'
)


@pytest.mark.parametrize(
    ('lines', 'error'),
    [
        (b'Stream-Offset: 13\r\nStream-Generation: 00', StreamReplaced),
        (b'Stream-Offset: 0\r\nStream-Generation: ours', NotResumable),
        (b'Stream-Generation: ours', NotResumable),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_not_taken(
    kind: type[InThread], lines: bytes, error: type[Exception]
) -> None:
    """A cache, or a server that does not know ``from``, must double nothing."""
    reply = HEAD + lines + b'\r\n\r\n' + EVENTS[1][:13] + b'1}\n\n'
    with (
        Turns(0, answer(reply)) as relay,
        kind(stream_url(relay.port, 'x'), offset=13, generation='ours') as reader,
        pytest.raises(error),
    ):
        reader.raw()


def test_a_compressed_body_that_ends_too_early_is_no_end(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """Its length is what was announced, but the compression says that more follows."""
    finished(proxied, 'short', EVENTS[0] + EVENTS[1])
    generation = proxied.client.lookup('short')[0]['generation'].encode()
    body = gzip.compress(EVENTS[0])[:-4]
    reply = HEAD.replace(b'17', b'%d' % len(body)) + b'Content-Encoding: gzip\r\n'
    reply += b'Stream-Offset: 0\r\nStream-Generation: ' + generation + b'\r\n\r\n'
    with (
        Turns(proxied.service.port, answer(reply + body)) as relay,
        kind(stream_url(relay.port, 'short')) as reader,
    ):
        assert reader.raw() == EVENTS[0] + EVENTS[1]
        assert reader.following.resumes == 1


def test_a_coding_that_nobody_asked_for_is_an_error(kind: type[InThread]) -> None:
    reply = HEAD + b'Content-Encoding: br\r\n\r\n' + b'x' * 17
    with (
        Turns(0, answer(reply)) as relay,
        kind(stream_url(relay.port, 'x')) as reader,
        pytest.raises(NotResumable, match='br'),
    ):
        reader.raw()


def test_an_event_has_a_limit(proxied: Proxied, kind: type[InThread]) -> None:
    """What comes before an event that is too long is delivered."""
    feed = proxied.feed(first=EVENTS[0])
    limits = Limits(event_bytes=10000)
    url = post_url(proxied.service.port)
    with kind(url, json=asked(feed), limits=limits) as reader:
        events = reader.events()
        assert next(events).json() == {'n': 0}
        # The service passes on an unfinished event once it is this long.
        feed.send(b'data: ' + b'x' * 300_000)
        with pytest.raises(EventTooLong, match='10000 bytes after offset 16'):
            next(events)


def test_events_of_megabytes_come_in_one_piece(
    proxied: Proxied, kind: type[InThread]
) -> None:
    """The service passes on an event of more than 256 KiB as it arrives."""
    feed = proxied.feed()
    big = b'data: "%s"\n\n' % (b'y' * 1_000_000)
    feed.send(big)
    feed.end()
    with kind(post_url(proxied.service.port), json=asked(feed)) as reader:
        (event,) = reader.events()
        assert len(event.json()) == 1_000_000


def test_a_step_that_times_out_has_taken_nothing(proxied: Proxied) -> None:
    """1. Nothing comes. 2. The caller gives up the step. 3. The next one goes on."""
    feed = proxied.feed(pending=True)
    with OnLoop(post_url(proxied.service.port), json=asked(feed)) as reader:

        async def impatient(followed: Any) -> None:
            step = asyncio.ensure_future(anext(followed.raw()))
            # Nothing is asked between two steps, so the first one lasts until then.
            await asyncio.to_thread(lambda: feed.exchange)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(step, 0.05)

        reader.run(impatient)
        feed.begin()
        feed.send(EVENTS[0])
        assert next(reader.events()).data == '{"n": 0}'
        reader.run(impatient)
        feed.send(EVENTS[1])
        feed.end()
        assert [event.data for event in reader.events()] == ['{"n": 1}']
        assert reader.following.resumes == 0


def test_closing_from_another_thread_ends_the_iteration(proxied: Proxied) -> None:
    feed = proxied.feed(first=EVENTS[0])
    with follow(post_url(proxied.service.port), json=asked(feed)) as stream:
        events = stream.events()
        next(events)
        closing = threading.Timer(0.05, stream.close)
        closing.start()
        assert list(events) == []
        closing.join()
        assert not stream.connected


@pytest.mark.parametrize(
    'wrong',
    [
        {'url': 'ftp://host/'},
        {'url': 'http:///x'},
        {'url': 'http://host:port/'},
        {'url': 'http://host/ä'},
        {'offset': -1},
        {'conversation_id': 'x'},
        {'json': {}, 'body': b''},
        {'json': {}, 'offset': 3},
        {'json': {}, 'conversation_id': 'a\nb'},
    ],
)
def test_what_cannot_be_asked_is_said_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalError):
        follow(**{'url': 'http://host/', **wrong})
