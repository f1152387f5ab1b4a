"""The routes of ``useChat``: from the request to the reply, without a server."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from shmstream import (
    FollowCut,
    Producer,
    State,
    StreamNotFound,
    Streams,
    SupervisorUnavailable,
    owner_of,
)
from shmstream.chat_paths import parse_chat_paths
from shmstream.serving import chat_routes
from shmstream.serving.body_fields import BodyFields
from shmstream.serving.chat_routes import MAX_STOP_BYTES, find_chat_route, stop_chat
from shmstream.serving.get_head_delete import Core, failed, suited
from shmstream.serving.permit import Grant, apply
from shmstream.serving.problems import Problem, refusal
from shmstream.serving.reply import Live, Pending, Reply
from shmstream.serving.request import Request
from tests.serving.test_get_head_delete import error, sent

OTHER = '0' * 16


def chat(path: str, method: str = 'GET', **more: Any) -> Request:
    """The request for what follows the path of the chats."""
    target, _, query = path.partition('?')
    request = Request(method, target.encode(), query.encode(), **more)
    assert find_chat_route(request)
    return request


def resumed(streams: Streams, path: str, method: str = 'GET', **more: Any) -> Reply:
    """The reply to a request for a chat's stream."""
    reply = Core(streams).answer(chat(path, method, **more))
    assert isinstance(reply, Reply)
    return reply


def is_nothing(reply: Reply) -> bool:
    """Whether the client learns that there is nothing to resume."""
    headers = dict(reply.headers)
    assert headers.get(b'cache-control', b'no-store').startswith(b'no-store')
    return (reply.status, reply.body) == (204, b'')


@pytest.mark.parametrize(
    ('method', 'path', 'conv_id'),
    [
        ('GET', b'chat-1/stream', 'chat-1'),
        ('HEAD', b'chat-1/stream', 'chat-1'),
        ('POST', b'chat-1/stop', 'chat-1'),
        ('GET', b'a%2Fb%20c/stream', 'a/b c'),
        ('GET', b'a/b/stream', 'a/b'),
        ('GET', b'stream/stream', 'stream'),
        ('GET', b'/stream', None),
        ('GET', b'stream', None),
        ('GET', b'chat-1/stop', None),
        ('POST', b'chat-1/stream', None),
        ('DELETE', b'chat-1/stream', None),
        ('GET', b'chat-1%2Fstream', None),
        ('GET', b'chat-1', None),
        ('GET', b'', None),
    ],
)
def test_which_requests_are_for_a_chat(
    method: str, path: bytes, conv_id: str | None
) -> None:
    request = Request(method, path, b'as=events')
    assert find_chat_route(request) == (conv_id is not None)
    assert request.events == (conv_id is None)
    if conv_id is None:
        assert request.path == path
    else:
        assert request.conversation_id() == conv_id


def test_what_goes_on_is_read_from_its_beginning(
    streams: Streams, conv_id: str
) -> None:
    """Whatever the client says of an offset: it wants all of the message."""
    with streams.create(conv_id) as producer:
        producer.write(b'data: 1\n\n')
        headers = [(b'last-event-id', b'7'), (b'range', b'bytes=3-')]
        reply = resumed(streams, f'{conv_id}/stream?from=3', headers=headers)
        assert reply.status == 200
        assert isinstance(reply.body, Live)
        assert reply.body.first == b'data: 1\n\n'
        assert dict(reply.headers)[b'stream-offset'] == b'0'
        head = resumed(streams, f'{conv_id}/stream', 'HEAD')
        assert (head.status, head.body) == (200, b'')


@pytest.mark.parametrize('end', ['finish', 'cancel'])
def test_what_is_over_is_nothing_to_resume(
    streams: Streams, conv_id: str, end: str
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'data: 1\n\n')
    getattr(producer, end)()
    assert is_nothing(resumed(streams, f'{conv_id}/stream'))
    again = resumed(streams, f'{conv_id}/stream?finished=replay')
    assert again.status == 200
    assert sent(again).startswith(b'data: 1\n\n')
    headers = [(b'range', b'bytes=3-')]
    part = resumed(streams, f'{conv_id}/stream?finished=replay', headers=headers)
    assert part.status == 200


def test_what_has_failed_is_there_to_be_resumed(streams: Streams, conv_id: str) -> None:
    """A client that was cut by the failure learns of it here."""
    producer = streams.create(conv_id)
    producer.write(b'data: 1\n\n')
    producer.abort('the model has died')
    reply = resumed(streams, f'{conv_id}/stream')
    assert reply.status == 200
    assert b'the model has died' in sent(reply)


def test_what_is_not_there_is_nothing_to_resume(streams: Streams, conv_id: str) -> None:
    assert is_nothing(resumed(streams, 'unknown/stream'))
    assert is_nothing(resumed(streams, 'unknown/stream', 'HEAD'))
    alice, bob = owner_of('alice'), owner_of('bob')
    with streams.create(conv_id, owner=alice) as producer:
        producer.write(b'1')
        assert is_nothing(resumed(streams, f'{conv_id}/stream', owner=bob))
        granted = chat(f'{conv_id}/stream')
        apply(Grant(alice, OTHER), granted)
        reply = Core(streams).answer(granted)
        assert isinstance(reply, Reply)
        assert is_nothing(reply)
        assert resumed(streams, f'{conv_id}/stream', owner=alice).status == 200


def test_what_begins_in_the_middle_is_nothing_to_resume(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id, capacity=1 << 16) as producer:
        for _ in range(3):
            producer.write(bytes(1 << 15))
        assert is_nothing(resumed(streams, f'{conv_id}/stream'))
        producer.abort('no more')
        assert is_nothing(resumed(streams, f'{conv_id}/stream?finished=replay'))


def test_what_has_not_begun_is_waited_for(streams: Streams, conv_id: str) -> None:
    with streams.create(conv_id, pending=True) as producer:
        later = Core(streams).answer(chat(f'{conv_id}/stream'))
        assert isinstance(later, Pending)
        reply = later.go_on(None)
        assert reply.status == 200
        assert dict(reply.headers)[b'content-type'] == b'text/event-stream'
        producer.begin('text/event-stream')
        assert later.go_on(None).status == 200
        producer.write(b'data: 1\n\n')
        producer.finish()
    assert isinstance(reply.body, Live)
    assert b''.join(reply.body.follow()) == b'data: 1\n\n'


def test_what_never_begins_is_an_answer_without_a_message(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id, pending=True) as producer:
        later = Core(streams).answer(chat(f'{conv_id}/stream'))
        assert isinstance(later, Pending)
        reply = later.go_on(None)
        streams.evict(conv_id)
        assert is_nothing(later.go_on(None))
        assert producer.is_cancelled
        assert isinstance(reply.body, Live)
        assert b''.join(reply.body.follow()) == b''


@pytest.mark.parametrize(
    'refused',
    [
        SupervisorUnavailable('no supervisor'),
        OSError(errno.EMFILE, 'too many'),
        OSError(errno.ENOMEM, 'no memory'),
        Problem(503, 'All places of readers are taken'),
    ],
)
def test_what_cannot_be_had_now_may_be_there(refused: Exception) -> None:
    assert error(failed(chat('chat-1/stream'), refused))['code'] == 503


def test_a_refusal_of_the_application_is_told() -> None:
    assert suited(chat('chat-1/stream'), refusal(503, 'Later')).status == 503


def test_what_is_of_another_generation_is_nothing_to_resume(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id) as producer:
        producer.write(b'1')
        assert is_nothing(resumed(streams, f'{conv_id}/stream?generation={OTHER}'))


def test_a_worker_that_leaves_cuts_what_has_not_a_byte(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a cut the client comes back, and after a 503 or a 204 it does not."""
    with streams.create(conv_id) as producer:
        monkeypatch.setattr(streams, 'leaving', lambda: True)
        reply = resumed(streams, f'{conv_id}/stream')
        assert reply.status == 200
        assert isinstance(reply.body, Live)
        with pytest.raises(FollowCut):
            list(reply.body.follow())
        producer.finish()


@pytest.mark.parametrize('path', ['%ff/stream', 'a%00b/stream', f'{"x" * 513}/stream'])
def test_an_id_that_cannot_be_is_told(streams: Streams, path: str) -> None:
    assert error(resumed(streams, path))['code'] == 400


def stopped(streams: Streams, conv_id: str, body: bytes = b'', **more: Any) -> Reply:
    request = chat(f'{conv_id}/stop', 'POST', **more)
    return stop_chat(streams, request, body).work()


def is_done(reply: Reply) -> bool:
    headers = dict(reply.headers)
    assert headers[b'content-length'] == b'%d' % len(sent(reply))
    return reply.status == 200 and json.loads(sent(reply)) == {'success': True}


@pytest.fixture
def live(streams: Streams, conv_id: str) -> Producer:
    producer = streams.create(conv_id)
    producer.write(b'data: 1\n\n')
    return producer


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b' \n',
        b'{}',
        b'{"activeStreamId": null}',
        b'{"assistantMessage": {"a": 1}}',
    ],
)
def test_a_stop_needs_no_body(
    streams: Streams, live: Producer, conv_id: str, body: bytes
) -> None:
    assert is_done(stopped(streams, conv_id, body))
    assert not live.write(b'data: 2\n\n')
    live.cancel()
    # It is kept, unlike after a DELETE.
    assert streams.open(conv_id).state is State.CANCELLED
    assert is_done(stopped(streams, conv_id))


def test_a_stop_that_comes_late_stops_no_newer_stream(
    streams: Streams, live: Producer, conv_id: str
) -> None:
    def active(generation: str) -> bytes:
        return json.dumps({'activeStreamId': generation}).encode()

    assert is_done(stopped(streams, conv_id, active(OTHER)))
    assert live.write(b'data: 2\n\n')
    assert is_done(stopped(streams, conv_id, active(live.generation)))
    assert not live.write(b'data: 3\n\n')
    live.cancel()


def test_a_stop_is_of_the_owner_s_stream_only(
    streams: Streams, live: Producer, conv_id: str
) -> None:
    assert is_done(stopped(streams, conv_id, owner=owner_of('bob')))
    assert is_done(stopped(streams, 'unknown'))
    with pytest.raises(StreamNotFound):
        streams.open('unknown')
    request = chat(f'{conv_id}/stop', 'POST')
    apply(Grant(bytes(32), live.generation), request)
    assert error(stop_chat(streams, request, b'').work())['code'] == 403
    assert live.write(b'data: 2\n\n')
    live.finish()


@pytest.mark.parametrize(
    ('headers', 'foreign'),
    [
        ({b'sec-fetch-site': b'cross-site'}, True),
        ({b'sec-fetch-site': b'same-site', b'origin': b'https://b.test'}, False),
        ({b'sec-fetch-site': b'same-origin'}, False),
        ({b'origin': b'http://evil.test', b'host': b'a.test'}, True),
        ({b'origin': b'null', b'host': b'a.test'}, True),
        ({b'origin': b'http://a.test:81', b'host': b'a.test'}, True),
        ({b'origin': b'http://a.test', b'host': b'a.test:80'}, False),
        (
            {
                b'origin': b'https://a.test',
                b'host': b'backend:8000',
                b'x-forwarded-host': b'a.test',
            },
            False,
        ),
        ({b'host': b'a.test'}, False),
    ],
)
def test_a_page_of_another_site_stops_nothing(
    streams: Streams,
    live: Producer,
    conv_id: str,
    headers: dict[bytes, bytes],
    foreign: bool,
) -> None:
    reply = stopped(streams, conv_id, headers=[*headers.items()])
    assert reply.status == (403 if foreign else 200)
    assert live.write(b'data: 2\n\n') == foreign
    # The service has looked at the page before.
    asked = chat(f'{conv_id}/stop', 'POST', headers=[*headers.items()])
    assert is_done(stop_chat(streams, asked, b'', gated=True).work())
    live.cancel()


@pytest.mark.parametrize(
    ('body', 'status', 'message'),
    [
        (b'{', 400, 'invalid body'),
        (b'[' * 100_000, 400, 'invalid body'),
        (b'[]', 400, 'invalid body'),
        (b'{"a": 1', 400, 'invalid body'),
        (b'{"activeStreamId": "0", "activeStreamId": "1"}', 400, 'once'),
        (b'{"activeStreamId": 7}', 400, 'activeStreamId'),
        (b'{"activeStreamId": 7.5}', 400, 'activeStreamId'),
        (b'{"activeStreamId": {"id": "%b"}}' % OTHER.encode(), 400, 'activeStreamId'),
        (b'{"activeStreamId": ["%b"]}' % OTHER.encode(), 400, 'activeStreamId'),
        (b'{"activeStreamId": garbage}', 400, 'activeStreamId'),
        (b'{"activeStreamId": true}', 400, 'activeStreamId'),
        (b'{"activeStreamId": {}, "activeStreamId": null}', 400, 'activeStreamId'),
        (b'{"activeStreamId": }', 400, 'invalid body'),
        (b'{}' + b' ' * 70_000 + b'{"activeStreamId": "x"}', 400, 'invalid body'),
        (b'{} and more', 400, 'invalid body'),
        (b'null', 400, 'invalid body'),
        (b'{"activeStreamId": "stream-1"}', 400, 'Stream-Generation'),
        (b' ' * (MAX_STOP_BYTES + 1), 413, 'more than'),
    ],
)
def test_a_stop_that_is_asked_wrongly(
    streams: Streams,
    live: Producer,
    conv_id: str,
    body: bytes,
    status: int,
    message: str,
) -> None:
    told = error(stopped(streams, conv_id, body))
    assert told['code'] == status
    assert message in told['message']
    assert live.write(b'data: 2\n\n')
    live.finish()


def test_a_long_body_is_looked_at_piece_by_piece(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    class Fed(BodyFields):
        def feed(self, piece: bytes) -> None:
            sizes.append(len(piece))
            super().feed(piece)

    monkeypatch.setattr(chat_routes, 'BodyFields', Fed)
    body = b'{"a": "%b"}' % (b'x' * 200_000)
    assert is_done(stopped(streams, 'unknown', body))
    assert sum(sizes) == len(body)
    assert max(sizes) == 64 * 1024


def test_paths_of_chats() -> None:
    assert parse_chat_paths('/api/chat') == ('/api/chat',)
    # An id may have a slash, so the longer path is looked at first.
    paths = '/api, /api/chat,/api'
    assert parse_chat_paths(paths) == ('/api/chat', '/api')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('/', 'must be paths'),
        ('/api/chat/', 'must be paths'),
        ('/api//chat', 'must be paths'),
        ('/api/../chat', 'must be paths'),
        ('/api/a%2Fb', 'must be paths'),
        ('/api/chat?x=1', 'must be paths'),
        ('https://host/api/chat', 'must be paths'),
        ('/' + 'x' * 256, 'must be paths'),
        ('/_shmstream/chat', 'own paths'),
        ('/healthz', 'own paths'),
        (','.join(f'/{number}' for number in range(17)), 'at most 16'),
    ],
)
def test_paths_that_cannot_be_those_of_chats(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_chat_paths(text)
