"""GET, HEAD and DELETE, from the request to the reply: no server, no event loop."""

from __future__ import annotations

import json
import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest

from shmstream import NoRoom, Producer, Streams, SupervisorUnavailable, owner_of
from shmstream.internals import counts_of
from shmstream.metrics.catalogue import REFUSALS, RESUMES
from shmstream.ring.state import State
from shmstream.serving.chat_routes import find_chat_route
from shmstream.serving.get_head_delete import WHOLE, Core
from shmstream.serving.reply import Blocking, Ended, Live, Pending, Reply
from shmstream.serving.request import Request


def ask(streams: Streams, path: str, method: str = 'GET', **more: Any) -> Any:
    """The core's answer."""
    target, _, query = path.partition('?')
    request = Request(method, target.encode(), query.encode(), **more)
    return Core(streams).answer(request)


def reply_to(streams: Streams, path: str, method: str = 'GET', **more: Any) -> Reply:
    """The core's answer, which is a reply at once."""
    reply = ask(streams, path, method, **more)
    assert isinstance(reply, Reply)
    return reply


def error(reply: Any) -> dict[str, Any]:
    """The error that a reply tells."""
    assert isinstance(reply, Reply)
    assert isinstance(reply.body, bytes)
    headers = dict(reply.headers)
    assert headers[b'content-type'] == b'application/json; charset=utf-8'
    assert headers[b'content-length'] == b'%d' % len(reply.body)
    told: dict[str, Any] = json.loads(reply.body)['error']
    assert told['code'] == reply.status
    return told


def sent(reply: Reply) -> bytes:
    """The body of a reply that has an end."""
    if isinstance(reply.body, bytes):
        return reply.body
    assert isinstance(reply.body, Ended)
    return b''.join(reply.body.views)


def finished(streams: Streams, conv_id: str, size: int) -> bytes:
    """Make a stream that has ended; returns its bytes."""
    data = bytes(number % 251 for number in range(size))
    with streams.create(conv_id, capacity=1 << 20) as producer:
        producer.write(data)
    return data


@pytest.mark.parametrize('size', [0, 1, WHOLE, WHOLE + 1, 700_000, 1_500_000])
def test_what_has_ended_has_a_length(streams: Streams, conv_id: str, size: int) -> None:
    data = finished(streams, conv_id, size)
    dropped = max(size - (1 << 20), 0)
    for offset in {dropped, dropped + 1, dropped + size // 3, size, size + 5, 1 << 62}:
        reply = reply_to(streams, f'{conv_id}?from={offset}')
        headers = dict(reply.headers)
        assert len(headers) == len(reply.headers)
        assert reply.status == 200
        assert sent(reply) == data[offset:]
        assert isinstance(reply.body, Ended) == (len(data[offset:]) > WHOLE)
        assert headers[b'content-length'] == b'%d' % len(data[offset:])
        assert headers[b'stream-offset'] == b'%d' % offset
        assert headers[b'stream-worker'] == b'%d' % os.getpid()
        assert reply.source is not None
        assert reply.source.conv_id == conv_id
    lost = reply_to(streams, conv_id)
    if dropped:
        told = error(lost)
        assert (told['dropped_prefix'], told['total_bytes']) == (dropped, size)
        assert told['message'] == 'Stream offset lost, please restart'
    else:
        assert lost.status == 200


@pytest.mark.parametrize('end', ['finish', 'cancel', 'abort'])
def test_how_it_ended(streams: Streams, conv_id: str, end: str) -> None:
    kind = 'application/x-ndjson; a="\u00e4"'
    producer = streams.create(conv_id, content_type=kind)
    producer.write(b'data: x\n\n')
    if end == 'abort':
        producer.abort('no more')
    else:
        getattr(producer, end)()
    reply = reply_to(streams, f'{conv_id}?from=6')
    headers = dict(reply.headers)
    assert sent(reply).startswith(b'x\n\n')
    state = {'finish': b'complete', 'cancel': b'cancelled', 'abort': b'aborted'}[end]
    assert headers[b'stream-state'] == state
    assert headers[b'content-type'] == b'application/x-ndjson; a="\xe4"'


def test_what_goes_on_has_a_follower_and_no_length(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'one,two,')
        reply = reply_to(streams, f'{conv_id}?from=4')
        headers = dict(reply.headers)
        assert b'content-length' not in headers
        assert headers[b'stream-state'] == b'live'
        assert headers[b'content-type'] == b'text/event-stream'
        assert headers[b'cache-control'] == b'no-store, no-transform'
        assert isinstance(reply.body, Live)
        assert producer.followers == 0, 'nobody listens before it is followed'
        # The bytes that are there are read before anybody says that they will come.
        assert (reply.body.first, reply.body.offset) == (b'two,', 8)
        producer.write(b'three')
        producer.finish()
        assert b''.join(reply.body.follow()) == b'three'


def test_head_has_the_headers_of_get_and_the_counts(
    streams: Streams, conv_id: str
) -> None:
    for end in (False, True):
        producer = streams.create(conv_id)
        producer.write(b'12345')
        if end:
            producer.finish()
        get = reply_to(streams, f'{conv_id}?from=2')
        head = reply_to(streams, f'{conv_id}?from=2', 'HEAD')
        counts = [(b'stream-total-bytes', b'5'), (b'stream-dropped-prefix', b'0')]
        # Of a live stream, GET tells as well how much there is.
        assert (counts[0] in get.headers) == (not end)
        assert head.headers == [*get.headers, *counts[not end :]]
        assert (b'content-length' in dict(head.headers)) == end
        assert head.body == b''
        producer.finish()
    missing = reply_to(streams, 'nobody', 'HEAD')
    assert (missing.status, missing.body) == (404, b'')
    assert int(dict(missing.headers)[b'content-length']) > 0


@pytest.mark.parametrize(
    ('target', 'status', 'message'),
    [
        ('nobody', 404, 'Stream not found or expired'),
        ('', 400, 'Missing conversation id in path'),
        ('%ff', 400, 'conversation id is not valid UTF-8'),
        ('%00', 400, 'conversation id holds a control character'),
        ('x' * 513, 400, 'conversation id has 513 bytes, at most 512 are allowed'),
        ('{}?from=-1', 400, "Invalid 'from' offset"),
        ('{}?generation=no', 400, "Invalid 'generation': 16 hexadecimal digits"),
        ('{}?generation=0000000000000000', 409, 'Stream was replaced'),
    ],
)
def test_what_is_asked_wrongly(
    streams: Streams, conv_id: str, target: str, status: int, message: str
) -> None:
    finished(streams, conv_id, 10)
    told = error(ask(streams, target.format(conv_id)))
    assert (told['code'], told['message']) == (status, message)


def test_a_generation_that_is_there(streams: Streams, conv_id: str) -> None:
    finished(streams, conv_id, 10)
    generation = streams.open(conv_id).generation
    assert len(sent(reply_to(streams, f'{conv_id}?generation={generation}'))) == 10
    told = error(ask(streams, f'{conv_id}?generation={"0" * 16}'))
    assert told['generation'] == generation


def test_a_request_that_may_see_one_generation_sees_no_other(
    streams: Streams, conv_id: str
) -> None:
    finished(streams, conv_id, 10)
    request = Request('GET', conv_id.encode())
    for generation, status in [
        (streams.open(conv_id).generation, 200),
        ('0' * 16, 404),
    ]:
        request.generation = generation
        reply = Core(streams).answer(request)
        assert isinstance(reply, Reply)
        assert reply.status == status


@pytest.mark.parametrize('method', ['DELETE', 'POST', 'PUT', 'PROPFIND'])
def test_a_request_that_may_read_one_stream_may_do_nothing_else(
    streams: Streams, conv_id: str, method: str
) -> None:
    finished(streams, conv_id, 10)
    generation = streams.open(conv_id).generation
    for granted in (generation, '0' * 16):
        for query in (b'', b'generation=' + generation.encode()):
            request = Request(method, conv_id.encode(), query)
            request.generation = granted
            told = error(Core(streams).answer(request))
            assert told['code'] == 403
            assert generation not in str(told)
    assert reply_to(streams, conv_id).status == 200


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
@pytest.mark.parametrize('pending', [False, True])
def test_a_request_that_may_see_one_generation_learns_of_no_other(
    streams: Streams, conv_id: str, method: str, pending: bool
) -> None:
    """Whichever generation it asks for, the answer is that of a missing stream."""
    with streams.create(conv_id, pending=pending):
        generation = streams.open(conv_id).generation
        queries = [b'', b'generation=%016x' % 1, b'generation=' + generation.encode()]
        for query in queries:
            replies = []
            for path in (conv_id, 'nobody'):
                request = Request(method, path.encode(), query)
                request.generation = '0' * 16
                replies.append(Core(streams).answer(request))
            assert replies[0] == replies[1]
            assert isinstance(replies[0], Reply)
            assert replies[0].status == 404
        request = Request(method, conv_id.encode(), b'generation=%016x' % 1)
        request.generation = generation
        replaced = Core(streams).answer(request)
        assert isinstance(replaced, Reply)
        assert replaced.status == 409, 'its own generation is no secret'


def test_another_owner_s_streams_are_not_there(streams: Streams, conv_id: str) -> None:
    alice, bob = owner_of('alice'), owner_of('bob')
    with streams.create(conv_id, owner=alice) as producer:
        producer.write(b'hers')
    assert sent(reply_to(streams, conv_id, owner=alice)) == b'hers'
    assert reply_to(streams, conv_id, owner=bob).status == 404
    assert reply_to(streams, conv_id).status == 404
    deleted = ask(streams, conv_id, 'DELETE', owner=bob).work()
    assert deleted.status == 204
    assert reply_to(streams, conv_id, owner=alice).status == 200


@pytest.mark.parametrize('method', ['GET', 'DELETE'])
def test_an_owner_that_cannot_be_is_not_the_client_s_fault(
    streams: Streams,
    conv_id: str,
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = error(ask(streams, conv_id, method, owner=b'alice'))
    assert (told['code'], told['message']) == (500, 'Internal error')
    assert 'owner must be 32 bytes' in caplog.text


def test_delete_blocks_and_is_204_in_any_case(streams: Streams, conv_id: str) -> None:
    finished(streams, conv_id, 10)
    for _ in range(2):
        answer = ask(streams, conv_id, 'DELETE')
        assert isinstance(answer, Blocking)
        assert answer.work() == Reply(204, [], b'')
        assert reply_to(streams, conv_id).status == 404


def test_a_delete_that_comes_late_stops_no_newer_stream(
    streams: Streams, conv_id: str
) -> None:
    finished(streams, conv_id, 10)
    late = ask(streams, f'{conv_id}?generation={"0" * 16}', 'DELETE')
    assert late.work().status == 204
    assert reply_to(streams, conv_id).status == 200


def test_other_methods(streams: Streams) -> None:
    options = reply_to(streams, 'c', 'OPTIONS')
    assert (options.status, options.body) == (200, b'')
    assert dict(options.headers)[b'allow'] == b'DELETE, GET, HEAD'
    for method in ('POST', 'PUT', 'PROPFIND'):
        reply = reply_to(streams, 'c', method)
        assert error(reply)['code'] == 405
        assert dict(reply.headers)[b'allow'] == b'DELETE, GET, HEAD, OPTIONS'


def pending(streams: Streams, conv_id: str) -> Pending:
    answer = ask(streams, conv_id)
    assert isinstance(answer, Pending)
    assert answer.wait_s == 5.0
    return answer


def test_what_has_not_begun_is_waited_for(streams: Streams, conv_id: str) -> None:
    producer = streams.create(conv_id, pending=True)
    answer = pending(streams, conv_id)
    late = answer.go_on(None)
    assert error(late)['code'] == 503
    assert dict(late.headers)[b'retry-after'] == b'2'
    producer.begin('text/plain')
    begun = answer.go_on(None)
    assert dict(begun.headers)[b'content-type'] == b'text/plain'
    assert isinstance(begun.body, Live)
    producer.finish()
    assert sent(answer.go_on(None)) == b''


def test_a_head_waits_as_a_get_does(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id, pending=True):
        answer = ask(streams, conv_id, 'HEAD')
        assert isinstance(answer, Pending)
        late = answer.go_on(None)
        assert (late.status, late.body) == (503, b'')


@pytest.mark.parametrize('stop', ['cancel', 'evict'])
def test_what_is_stopped_before_it_began_is_not_there(
    streams: Streams, conv_id: str, stop: str
) -> None:
    with streams.create(conv_id, pending=True):
        answer = pending(streams, conv_id)
        getattr(streams, stop)(conv_id)
        assert answer.go_on(None).status == 404
        assert reply_to(streams, conv_id).status == 404


def test_what_is_stopped_after_it_began_is_there(
    streams: Streams, conv_id: str
) -> None:
    producer = streams.create(conv_id)
    streams.cancel(conv_id)
    producer.finish()
    reply = reply_to(streams, conv_id)
    assert dict(reply.headers)[b'stream-state'] == b'cancelled'


def test_a_cancel_that_the_producer_has_not_noticed_is_told_as_live(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer may still write: only its own end is final."""
    # The doorbell's thread of its process has not had its turn.
    monkeypatch.setattr(Producer, '_look_for_cancel', lambda _: None)
    with streams.create(conv_id) as producer:
        producer.write(b'one,')
        streams.cancel(conv_id)
        assert streams.open(conv_id).state is State.CANCELLED
        for method in ('GET', 'HEAD'):
            headers = dict(reply_to(streams, conv_id, method).headers)
            assert headers[b'stream-state'] == b'live'
            assert b'content-length' not in headers
        live = reply_to(streams, conv_id).body
        assert isinstance(live, Live)
        producer.finish()
    headers = dict(reply_to(streams, conv_id).headers)
    assert headers[b'stream-state'] == b'cancelled'
    assert headers[b'content-length'] == b'4'


class Changing:
    """A stream of one byte that ends, with a second byte, while the core reads it.

    Attributes:
        pending: whether the stream has yet to begin.
        reads: how often the core has read something that changes, since it began.

    Args:
        ends_after: the stream ends after so many reads.
        before: its state until then.
    """

    generation = '0' * 16
    content_type = 'text/plain'
    dropped_prefix = 0
    never_began = False
    kept_headers = b''
    untold_failure = ''

    def __init__(self, ends_after: int, before: State) -> None:
        self.pending = False
        self.reads = 0
        self._ends_after = ends_after
        self._before = before

    @property
    def finished(self) -> bool:
        if self.pending:
            return False
        self.reads += 1
        return self.reads > self._ends_after

    @property
    def state(self) -> State:
        if self.pending:
            return State.PENDING
        return State.COMPLETE if self.finished else self._before

    @property
    def total_bytes(self) -> int:
        return 2 if self.finished else 1

    def read(self, offset: int, limit: int) -> bytes:
        return b'ab'[offset : self.total_bytes]

    def views(self, offset: int) -> list[memoryview]:
        assert self.finished
        return [memoryview(b'ab')[offset:]]


@pytest.mark.parametrize('pending', [False, True])
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
@pytest.mark.parametrize('before', [State.LIVE, State.CANCELLED])
def test_whenever_a_stream_ends_what_its_reply_says_of_the_end_is_true(
    pending: bool, method: str, before: State
) -> None:
    """A length goes with the state of the end, also if the end comes between reads."""
    for ends_after in range(8):
        stream = Changing(ends_after, before)
        stream.pending = pending
        streams: Any = SimpleNamespace(
            open=lambda *_, found=stream, **__: found, leaving=lambda: False
        )
        reply = Core(streams).answer(Request(method, b'c'))
        if pending:
            assert isinstance(reply, Pending)
            stream.pending = False
            reply = reply.go_on(None)
        assert isinstance(reply, Reply)
        assert reply.status == 200
        headers = dict(reply.headers)
        if b'content-length' in headers:
            assert headers[b'stream-state'] == b'complete'
            assert headers[b'content-length'] == b'2'
            assert reply.body == (b'ab' if method == 'GET' else b'')
        elif method == 'GET':
            assert isinstance(reply.body, Live)
    assert stream.reads < ends_after, 'the end after all reads has been tried as well'


def test_what_waiting_raises_is_the_reply(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id, pending=True):
        reply = pending(streams, conv_id).go_on(SupervisorUnavailable('nobody'))
        assert (error(reply)['code'], error(reply)['message']) == (503, 'nobody')


def test_a_process_that_leaves_sends_nobody_to_the_live_edge(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'x')
        monkeypatch.setattr(Streams, 'leaving', lambda _self: True)
        reply = reply_to(streams, f'{conv_id}?from=1')
        assert error(reply)['message'] == 'This worker is leaving, ask again'
        assert dict(reply.headers)[b'retry-after'] == b'2'
        # What is there already is no request in vain; and HEAD waits for nothing.
        assert isinstance(reply_to(streams, conv_id).body, Live)
        assert reply_to(streams, f'{conv_id}?from=1', 'HEAD').status == 200
    assert sent(reply_to(streams, conv_id)) == b'x'


@pytest.mark.parametrize(
    ('raised', 'status', 'logged'),
    [
        (NoRoom('full'), 503, False),
        (SupervisorUnavailable('nobody'), 503, False),
        (OSError(24, 'too many open files'), 503, True),
        (OSError(5, 'input/output error'), 500, True),
        (ZeroDivisionError('of ours'), 500, True),
    ],
)
def test_errors_are_told_by_blame(
    streams: Streams,
    conv_id: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    status: int,
    logged: bool,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(Streams, 'open', fail)
    monkeypatch.setattr(Streams, 'evict', fail)
    for reply in (ask(streams, conv_id), ask(streams, conv_id, 'DELETE').work()):
        told = error(reply)
        assert told['code'] == status
        assert (b'retry-after' in dict(reply.headers)) == (status == 503)
        assert ('of ours' in told['message']) is False
    assert bool(caplog.records) == logged


@pytest.mark.parametrize('query', ['', 'as=events'])
def test_who_reads_from_the_beginning_of_a_live_stream_has_not_come_back(
    streams: Streams, conv_id: str, query: str
) -> None:
    """The first bytes come with the reply, and the follower begins after them."""
    with streams.create(conv_id) as producer:
        producer.write(b'data: x\n\n')
        served = producer._segment.followers.served
        for at, resumes in ((0, 0), (1, 1)):
            more: dict[str, Any] = {}
            if query and at:
                last = f'{producer.generation}-9'.encode()
                more = {'headers': [(b'last-event-id', last)]}
            target = f'{conv_id}?{query or f"from={at}"}'
            body = reply_to(streams, target, **more).body
            assert isinstance(body, Live)
            with body.follow() as follower:
                producer.write(b'data: x\n\n')
                next(iter(follower))
            assert served() == (at + 1, resumes)


@pytest.mark.parametrize(
    ('path', 'query', 'transport'),
    [('', '', 'raw'), ('', '&as=events', 'events'), ('/stream', '', 'chat')],
)
def test_a_route_is_told_also_if_the_request_names_a_generation(
    streams: Streams, conv_id: str, path: str, query: str, transport: str
) -> None:
    with streams.create(conv_id) as producer:
        for named in ('', f'generation={producer.generation}'):
            asked = Request(
                'GET', f'{conv_id}{path}'.encode(), (named + query).encode()
            )
            find_chat_route(asked)
            reply = Core(streams).answer(asked)
            assert isinstance(reply, Reply)
            assert isinstance(reply.body, Live)
            assert reply.body.transport == transport


def test_a_link_that_may_only_read_is_no_foreign_page(
    streams: Streams, conv_id: str
) -> None:
    refused = counts_of(streams).words[REFUSALS.of('origin')]
    asked = Request('DELETE', conv_id.encode())
    asked.generation = '0' * 16
    assert Core(streams).answer(asked).status == 403  # type: ignore[union-attr]
    assert counts_of(streams).words[REFUSALS.of('origin')] == refused


def test_a_page_that_asks_whether_there_is_a_chat_has_lost_nothing(
    streams: Streams, conv_id: str
) -> None:
    streams.create(conv_id).finish()

    def unknown() -> int:
        return int(counts_of(streams).words[RESUMES.of('unknown')])

    before = unknown()
    generation = '0' * 16
    for chat, query, lost in (
        (conv_id, '', 0),
        ('nothing', '', 0),
        ('nothing', f'generation={generation}', 1),
    ):
        asked = Request('GET', f'{chat}/stream'.encode(), query.encode())
        find_chat_route(asked)
        assert Core(streams).answer(asked).status == 204  # type: ignore[union-attr]
        assert unknown() == before + lost


@pytest.mark.parametrize(
    ('raised', 'cause'),
    [
        (NoRoom('full'), 'system'),
        (OSError(24, 'too many open files'), 'system'),
        (SupervisorUnavailable('nobody'), 'no_supervisor'),
    ],
)
@pytest.mark.parametrize('method', ['GET', 'DELETE', 'POST'])
def test_what_has_no_room_is_counted_once_on_each_route(
    streams: Streams,
    conv_id: str,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    cause: str,
    method: str,
) -> None:
    def fail(*_args: object, **_named: object) -> None:
        raise raised

    words = counts_of(streams).words[REFUSALS.at : REFUSALS.at + REFUSALS.words]
    before = words.tolist()
    for name in ('open', 'evict', 'stop'):
        monkeypatch.setattr(Streams, name, fail)
    asked = Request(method, f'{conv_id}/stop'.encode())
    core = Core(streams)
    if method == 'POST':
        find_chat_route(asked)
        answer: Any = core.stop_chat(asked, b'')
    else:
        answer = core.answer(asked)
    reply = answer.work() if isinstance(answer, Blocking) else answer
    assert reply.status == 503
    grown = [now - then for now, then in zip(words.tolist(), before, strict=True)]
    assert grown == [int(value == cause) for value in REFUSALS.values]
