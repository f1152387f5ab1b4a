"""The front's shortcut answers as the long way does; the application, in process.

Real streams, and ``send`` as a server calls it: what a client gets of a whole service
is in the tests beside this one, most of which go the short way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shmstream import Streams
from shmstream.http.app import create_app
from shmstream.http.front import Front
from shmstream.http.stalled import Reader
from shmstream.settings import Settings

WAIT_S = 15

Message = dict[str, Any]


@pytest.fixture
def front(streams: Streams) -> Iterator[Front]:
    """The application, in the process that makes the streams."""
    front = create_app(Settings(dir=streams.process.directory.path))
    shortcut = front.shortcut
    assert shortcut is not None
    yield front
    shortcut._streams.close()


def scope(target: str, method: str = 'GET') -> Message:
    """As gunicorn's: the path decoded, and as it was sent."""
    path, _, query = target.partition('?')
    return {
        'type': 'http',
        'asgi': {'version': '3.0'},
        'http_version': '1.1',
        'method': method,
        'scheme': 'http',
        'path': path,
        'raw_path': path.encode('latin-1'),
        'query_string': query.encode('latin-1'),
        'root_path': '',
        'headers': [(b'host', b'test')],
        'server': ('127.0.0.1', 80),
        'client': ('127.0.0.1', 1),
    }


async def messages(
    app: Any, asked: Message, on_body: Callable[[], None] = lambda: None
) -> list[Message]:
    """Everything that is sent; ``on_body`` is called when the first bytes are."""
    sent: list[Message] = []

    events: list[Message] = [{'type': 'http.request', 'body': b'', 'more_body': False}]

    async def receive() -> Message:
        if events:
            return events.pop()
        await asyncio.sleep(WAIT_S)
        return {'type': 'http.disconnect'}

    async def send(message: Message) -> None:
        sent.append(dict(message))
        if message['type'] == 'http.response.body' and message.get('body'):
            on_body()

    await asyncio.wait_for(app(asked, receive, send), WAIT_S)
    return sent


def told(sent: list[Message]) -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """Status, headers, body, and whether it has ended as if it were whole."""
    start, *bodies = sent
    headers = dict(start['headers'])
    assert len(headers) == len(start['headers'])
    body = b''.join(message.get('body', b'') for message in bodies)
    return start['status'], headers, body, not bodies[-1].get('more_body')


def ask(front: Front, target: str, method: str = 'GET') -> tuple[Any, bool]:
    """What the application answers, and whether by the shortcut; both ways agree."""
    shortcut = front.shortcut
    assert shortcut is not None

    async def nothing(_message: Message) -> None:
        pass

    answering = shortcut.answering(scope(target, method), Reader(nothing))
    if answering is not None:
        answering.close()
    answer = told(asyncio.run(messages(front, scope(target, method))))
    front.shortcut = None
    try:
        assert told(asyncio.run(messages(front, scope(target, method)))) == answer
    finally:
        front.shortcut = shortcut
    return answer, answering is not None


def finished(streams: Streams, conv_id: str, size: int = 3000) -> bytes:
    """Make a stream that has ended; returns its bytes."""
    data = bytes(number % 251 for number in range(size))
    with streams.create(conv_id, capacity=1 << 20) as producer:
        producer.write(data)
    return data


@pytest.mark.parametrize('size', [0, 1, 3000, 65536, 65537, 700_000, 1_500_000])
def test_what_has_ended(streams: Streams, front: Front, size: int) -> None:
    data = finished(streams, 'c', size)
    dropped = max(size - (1 << 20), 0)
    for offset in {dropped, dropped + 1, dropped + size // 3, size, size + 5, 1 << 62}:
        (status, headers, body, whole), short = ask(
            front, f'/v1/stream/c?from={offset}'
        )
        assert (status, body, whole, short) == (200, data[offset:], True, True)
        assert headers[b'content-length'] == b'%d' % len(body)
        assert headers[b'stream-offset'] == b'%d' % offset
    (status, *_), short = ask(front, '/v1/stream/c')
    assert (status, short) == ((400, False) if dropped else (200, True))


@pytest.mark.parametrize('end', ['finish', 'cancel', 'abort'])
def test_how_it_ended(streams: Streams, front: Front, end: str) -> None:
    producer = streams.create('c', content_type='application/x-ndjson; a="\u00e4"')
    producer.write(b'data: x\n\n')
    if end == 'abort':
        producer.abort('no more')
    else:
        getattr(producer, end)()
    (status, headers, body, whole), short = ask(front, '/v1/stream/c?from=6')
    assert (status, whole, short) == (200, True, True)
    assert body.startswith(b'x\n\n')
    state = {'finish': b'complete', 'cancel': b'cancelled', 'abort': b'aborted'}[end]
    assert headers[b'stream-state'] == state
    assert headers[b'content-type'] == b'application/x-ndjson; a="\xe4"'


@pytest.mark.parametrize('direct', [False, True])
def test_what_goes_on(streams: Streams, front: Front, direct: bool) -> None:
    """From an offset, what there is and what comes; on the end the body ends."""
    shortcut = front.shortcut if direct else None
    front.shortcut = shortcut
    producer = streams.create('c')
    producer.write(b'one,two,')

    def go_on() -> None:
        if producer.write(b'three,'):
            producer.finish()

    sent = asyncio.run(messages(front, scope('/v1/stream/c?from=4'), go_on))
    status, headers, body, whole = told(sent)
    assert (status, body, whole) == (200, b'two,three,', True)
    assert b'content-length' not in headers
    assert headers[b'stream-state'] == b'live'
    assert streams.process.followers.number == 0


@pytest.mark.parametrize('direct', [False, True])
def test_who_is_overtaken_is_cut_off(
    streams: Streams, front: Front, direct: bool
) -> None:
    front.shortcut = front.shortcut if direct else None
    producer = streams.create('c', capacity=65536)
    producer.write(b'x')

    def overtake() -> None:
        producer.write(bytes(70_000))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(messages(front, scope('/v1/stream/c'), overtake))
    producer.finish()


@pytest.mark.parametrize('direct', [False, True])
def test_a_client_that_leaves_is_followed_no_more(
    streams: Streams, front: Front, direct: bool
) -> None:
    front.shortcut = front.shortcut if direct else None
    producer = streams.create('c')
    producer.write(b'x')

    async def leave() -> None:
        came = asyncio.Event()
        task = asyncio.create_task(messages(front, scope('/v1/stream/c'), came.set))
        await asyncio.wait_for(came.wait(), WAIT_S)
        assert producer.followers == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert producer.followers == 0
    producer.finish()


LONG_WAY = {
    '/v1/stream/nothing': 404,
    '/v1/stream/': 400,
    '/v1/stream/%ff': 400,
    '/v1/stream/%00': 400,
    '/v1/stream/' + 'x' * 513: 400,
    '/v1/stream/c?from=-1': 400,
    '/v1/stream/c?from=': 400,
    '/v1/stream/c?from=1x': 400,
    f'/v1/stream/c?from={1 << 63}': 400,
    f'/v1/stream/c?from={10**19}': 400,
    '/v1/stream/c?generation=0000000000000000': 409,
    '/v1/stream/c?generation=no': 400,
    '/v1/stream/c?from=1&from=2': 200,
    '/v1/stream/c?token=x': 200,
    '/v1/stream?conv_id=c': 200,
}


@pytest.mark.parametrize('target', LONG_WAY, ids=range(len(LONG_WAY)))
def test_all_else_goes_the_long_way(
    streams: Streams, front: Front, target: str
) -> None:
    finished(streams, 'c')
    answer, short = ask(front, target)
    assert (answer[0], short) == (LONG_WAY[target], False)


def test_ids_are_decoded_alike(streams: Streams, front: Front) -> None:
    for conv_id, raw in [
        ('a::org/model', 'a::org%2Fmodel'),
        ('a/b', 'a/b'),
        ('\u00e4 +', '%C3%A4%20+'),
        ('%41', '%2541'),
        ('..', '%2e%2e'),
    ]:
        data = finished(streams, conv_id)
        answer, short = ask(front, f'/v1/stream/{raw}')
        assert (answer[0], answer[2], short) == (200, data, True)


def test_what_was_evicted_is_gone(streams: Streams, front: Front) -> None:
    finished(streams, 'c')
    assert ask(front, '/v1/stream/c')[1]
    streams.evict('c')
    answer, short = ask(front, '/v1/stream/c')
    assert (answer[0], short) == (404, False)


def test_the_header_only_goes_the_long_way(streams: Streams, front: Front) -> None:
    finished(streams, 'c')
    (status, headers, body, _), short = ask(front, '/v1/stream/c', 'HEAD')
    assert (status, body, short) == (200, b'', False)
    assert headers[b'stream-total-bytes'] == b'3000'


@pytest.mark.parametrize('begun', [False, True])
def test_what_was_cancelled_before_it_began_is_not_there(
    streams: Streams, front: Front, begun: bool
) -> None:
    producer = streams.create('c', pending=True)
    if begun:
        producer.begin()
    streams.cancel('c')
    producer.finish()
    answer, short = ask(front, '/v1/stream/c')
    assert (answer[0], short) == ((200, True) if begun else (404, False))


def test_a_worker_that_leaves_sends_nobody_to_the_live_edge(
    streams: Streams, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = streams.create('c')
    producer.write(b'x')
    monkeypatch.setattr(Streams, 'leaving', lambda _self: True)
    answer, short = ask(front, '/v1/stream/c?from=1')
    assert (answer[0], short) == (503, False)
    # What has ended is answered all the same.
    producer.finish()
    answer, short = ask(front, '/v1/stream/c')
    assert (answer[0], answer[2], short) == (200, b'x', True)


def test_any_asgi_server_takes_it_for_what_it_is(front: Front) -> None:
    """uvicorn looks whether calling it makes a coroutine."""
    assert asyncio.iscoroutinefunction(front.__call__)


@pytest.mark.parametrize(
    'settings', [{'api_keys': ('k',)}, {'cors_origins': ('https://a.example',)}]
)
def test_keys_and_other_origins_take_the_long_way(
    streams: Streams, settings: dict[str, Any]
) -> None:
    app = create_app(Settings(dir=streams.process.directory.path, **settings))
    assert app.shortcut is None
