"""The object of an OpenAI response, from the events of its stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from shmstream import Consumer, OffsetLost, Producer, Streams
from shmstream.dialects import events
from shmstream.internals import note_alias
from shmstream.serving.get_head_delete import Core
from shmstream.serving.reply import Reply
from shmstream.serving.request import Request
from shmstream.serving.responses import Responses, response_of

RING = 65536


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({'type': kind, **fields})
    return f'event: {kind}\ndata: {data}\n\n'.encode()


def told(kind: str, status: str, **more: Any) -> bytes:
    return event(kind, response={'id': 'r', 'status': status, **more})


CREATED = told('response.created', 'queued', n=1)
GOING = told('response.in_progress', 'in_progress', n=2)
WORD = event('response.output_text.delta', delta='"response": {"status": "completed"}')
OVER = told('response.completed', 'completed', n=3)
DONE = b'data: [DONE]\n\n'


@pytest.fixture
def written(streams: Streams, conv_id: str) -> Callable[..., Consumer]:
    """Write a response, and end it in some way."""

    def write(
        data: bytes, end: Callable[[Producer], object] = Producer.finish
    ) -> Consumer:
        producer = streams.create(conv_id, capacity=RING)
        note_alias(producer, b'alias')
        producer.write(data)
        end(producer)
        kept.append(producer)
        return streams.open(conv_id)

    kept: list[Producer] = []
    return write


def goes_on(_: Producer) -> None:
    """The end of a stream that has none."""


def fails(producer: Producer) -> None:
    producer.abort('no more words')


@pytest.mark.parametrize(
    ('data', 'end', 'status', 'number'),
    [
        (CREATED, goes_on, 'queued', 1),
        (CREATED + GOING + WORD, goes_on, 'in_progress', 2),
        (CREATED + GOING + WORD, Producer.cancel, 'cancelled', 2),
        (CREATED + GOING + WORD, fails, 'failed', 2),
        (CREATED + GOING + WORD + OVER, Producer.finish, 'completed', 3),
        (CREATED + GOING + WORD + OVER + DONE, Producer.finish, 'completed', 3),
        # It had said so before it broke off, or was stopped.
        (CREATED + OVER, fails, 'completed', 3),
        (CREATED + OVER, Producer.cancel, 'completed', 3),
        (CREATED + told('response.failed', 'failed', n=4), fails, 'failed', 4),
        (
            CREATED + told('response.incomplete', 'incomplete', n=5),
            Producer.finish,
            'incomplete',
            5,
        ),
        (CREATED + event('error', message='busy'), Producer.finish, 'failed', 1),
        (CREATED + WORD + DONE, Producer.finish, 'completed', 1),
        # What does not fit into the first look at the beginning, or at the end.
        (told('response.created', 'x', n=6, a='x' * 20_000), goes_on, 'x', 6),
        (
            CREATED + told('response.completed', 'completed', n=7, a='x' * 20_000),
            Producer.finish,
            'completed',
            7,
        ),
        (b': hello\n\n' + CREATED + b'data: {"a": [1]}\n\n', goes_on, 'queued', 1),
    ],
)
def test_what_a_response_is_now(
    written: Callable[..., Consumer],
    data: bytes,
    end: Callable[[Producer], object],
    status: str,
    number: int,
) -> None:
    found = response_of(written(data, end))
    assert (found['id'], found['status'], found['n']) == ('r', status, number)


def test_a_failure_is_told_by_its_message(written: Callable[..., Consumer]) -> None:
    assert response_of(written(CREATED, fails))['error'] == {
        'code': 'server_error',
        'message': 'no more words',
    }
    data = CREATED + event('error', message=None)
    assert response_of(written(data))['error']['message'] == 'the response has failed'


LONG = b''.join(event('x', delta='x' * 900) for _ in range(100))


def test_what_the_ring_has_dropped_is_not_missed_at_the_end(
    written: Callable[..., Consumer],
) -> None:
    assert response_of(written(CREATED + LONG + OVER))['n'] == 3
    for end, status in (
        (goes_on, 'in_progress'),
        (Producer.cancel, 'cancelled'),
        (fails, 'failed'),
    ):
        found = response_of(written(CREATED + LONG, end))
        assert (found['id'], found['status'], found['output']) == ('alias', status, [])


def test_an_end_that_the_ring_does_not_hold_is_lost(
    written: Callable[..., Consumer],
) -> None:
    larger = told('response.completed', 'completed', text='x' * RING)
    with pytest.raises(OffsetLost):
        response_of(written(CREATED + larger))


def test_how_a_stream_is_asked_for(
    streams: Streams, written: Callable[..., Consumer]
) -> None:
    written(CREATED + OVER)
    responses = Responses(streams, Core(streams))

    def body(query: bytes) -> Any:
        reply = responses.retrieve(Request('GET', b'x', query), 'alias')
        assert isinstance(reply, Reply)
        return reply.body

    for query in (b'stream=true', b'as=events&stream=True&from=5', b'stream=1'):
        assert body(query) == CREATED + OVER
    for query in (b'', b'stream=false', b'stream', b'starting_after=x'):
        assert json.loads(body(query))['n'] == 3
    assert responses.retrieve(Request('GET', b'x'), 'r') is None
    assert responses.cancel(Request('POST', b'x'), 'a\nb') is None


BEHIND = told('response.created', 'queued', n=1, background=True)


@pytest.mark.parametrize(
    ('data', 'end', 'upstream'),
    [
        (BEHIND, goes_on, True),
        (BEHIND, Producer.cancel, True),
        (BEHIND, fails, True),
        (BEHIND + OVER, Producer.finish, False),
        (CREATED, fails, False),
    ],
)
def test_each_cancel_of_a_response_in_the_background_goes_upstream(
    streams: Streams,
    written: Callable[..., Consumer],
    data: bytes,
    end: Callable[[Producer], object],
    upstream: bool,
) -> None:
    """The upstream may have answered the one before with 503."""
    written(data, end)
    responses = Responses(streams, Core(streams))
    for _ in range(2):
        reply = responses.cancel(Request('POST', b'x'), 'alias')
        assert (reply is None) == upstream


@pytest.mark.parametrize('query', [b'', b'stream=true', b'stream=1&starting_after=0'])
@pytest.mark.parametrize(
    ('data', 'end', 'upstream'),
    [
        (BEHIND, fails, True),
        (BEHIND, goes_on, False),
        (BEHIND, Producer.cancel, False),
        (BEHIND + OVER, Producer.finish, False),
        (BEHIND + OVER, fails, False),
        (CREATED, fails, False),
    ],
)
def test_a_response_in_the_background_that_was_lost_is_the_upstreams(
    streams: Streams,
    written: Callable[..., Consumer],
    data: bytes,
    end: Callable[[Producer], object],
    query: bytes,
    upstream: bool,
) -> None:
    written(data, end)
    asked = Request('GET', b'x', query)
    reply = Responses(streams, Core(streams)).retrieve(asked, 'alias')
    assert (reply is None) == upstream


class Watched:
    """A consumer that says how much of its stream is read at once, at most."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def read(self, offset: int, limit: int) -> bytes:
        self.most = max(self.most, limit)
        return self._consumer.read(offset, limit)


SHORT = b''.join(event('x', delta='x') for _ in range(700))
A_LOT = 'x' * 20_000


@pytest.mark.parametrize(
    ('data', 'end', 'number'),
    [
        (told('response.created', 'x', n=8, a=A_LOT) + SHORT, goes_on, 8),
        (
            CREATED + SHORT + told('response.completed', 'x', n=9, a=A_LOT),
            Producer.finish,
            9,
        ),
        # It has no end: what is before its last events is not searched.
        (CREATED + SHORT, Producer.finish, 1),
    ],
)
def test_no_more_is_read_and_split_than_is_needed(
    written: Callable[..., Consumer],
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    end: Callable[[Producer], object],
    number: int,
) -> None:
    watched = Watched(written(data, end))
    split: list[bytes] = []
    plain, here = events._event, threading.get_ident()

    def counted(text: bytes) -> events.Event:
        # The producer of a test before this one may be finished meanwhile, in a thread.
        if threading.get_ident() == here:
            split.append(text)
        return plain(text)

    with monkeypatch.context() as patch:
        patch.setattr(events, '_event', counted)
        assert response_of(cast(Consumer, watched))['n'] == number
    assert watched.most <= 65536
    assert len(split) < 260
