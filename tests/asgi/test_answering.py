"""Replies as they are sent, by the mountable application and by the service.

Real streams, and ``send`` as a server calls it: what a client gets of a whole service
is in ``tests/http``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from shmstream import Streams
from shmstream.asgi import Application
from shmstream.asgi.answering import Answering
from shmstream.asgi.other_servers import ResponseCut
from shmstream.http.api_keys import ApiKeys
from shmstream.http.app import create_app
from shmstream.http.origins import Origins
from shmstream.ids import NOBODY
from shmstream.serving import Request, refusal
from shmstream.settings import Settings
from tests.asgi.in_process import WAIT_S, call, messages, scope
from tests.support.leaks import wait_until

PAGE = 'https://chat.example.org'


@pytest.fixture(params=['application', 'service', 'service for other origins'])
def app(
    request: pytest.FixtureRequest,
    streams: Streams,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """An application in the process that makes the streams."""
    if request.param == 'application':
        yield Application(streams, prefix='/v1/stream')
        return
    # The service's own ``Streams`` would have to be closed by its lifespan.
    monkeypatch.setattr(Streams, 'attach', lambda *_, **__: streams)
    origins = (PAGE,) if 'origins' in request.param else ()
    service = create_app(
        Settings(dir=streams._process.directory.path, cors_origins=origins)
    )

    async def not_asked(*_: Any) -> None:
        raise AssertionError('Falcon has been asked')

    monkeypatch.setattr(service, 'falcon', not_asked)
    yield service


def path(conv_id: str, rest: str = '') -> str:
    return f'/v1/stream/{conv_id}{rest}'


def finished(streams: Streams, conv_id: str, size: int = 3000) -> bytes:
    """Make a stream that has ended; returns its bytes."""
    data = bytes(number % 251 for number in range(size))
    with streams.create(conv_id, capacity=1 << 20) as producer:
        producer.write(data)
    return data


@pytest.mark.parametrize('size', [0, 1, 3000, 65536, 65537, 700_000, 1_500_000])
def test_what_has_ended(streams: Streams, app: Any, conv_id: str, size: int) -> None:
    data = finished(streams, conv_id, size)
    dropped = max(size - (1 << 20), 0)
    for offset in {dropped, dropped + 1, dropped + size // 3, size, size + 5, 1 << 62}:
        asked = scope(path(conv_id, f'?from={offset}'))
        status, headers, body, whole = call(app, asked)
        assert (status, body, whole) == (200, data[offset:], True)
        assert headers[b'content-length'] == b'%d' % len(body)
        assert headers[b'stream-offset'] == b'%d' % offset
    assert call(app, scope(path(conv_id)))[0] == (400 if dropped else 200)


@pytest.mark.parametrize('end', ['finish', 'cancel', 'abort'])
def test_how_it_ended(streams: Streams, app: Any, conv_id: str, end: str) -> None:
    kind = 'application/x-ndjson; a="\u00e4"'
    producer = streams.create(conv_id, content_type=kind)
    producer.write(b'data: x\n\n')
    if end == 'abort':
        producer.abort('no more')
    else:
        getattr(producer, end)()
    status, headers, body, whole = call(app, scope(path(conv_id, '?from=6')))
    assert (status, whole) == (200, True)
    assert body.startswith(b'x\n\n')
    state = {'finish': b'complete', 'cancel': b'cancelled', 'abort': b'aborted'}[end]
    assert headers[b'stream-state'] == state
    assert headers[b'content-type'] == b'application/x-ndjson; a="\xe4"'


def test_what_goes_on(streams: Streams, app: Any, conv_id: str) -> None:
    """From an offset, what there is and what comes; on the end the body ends."""
    producer = streams.create(conv_id)
    producer.write(b'one,two,')

    def go_on() -> None:
        if producer.write(b'three,'):
            producer.finish()

    asked = scope(path(conv_id, '?from=4'))
    start, *bodies = asyncio.run(messages(app, asked, go_on))
    headers = dict(start['headers'])
    assert start['status'] == 200
    assert b''.join(message['body'] for message in bodies) == b'two,three,'
    assert not bodies[-1]['more_body']
    assert b'content-length' not in headers
    assert headers[b'stream-state'] == b'live'
    assert streams._process.followers.number == 0


def test_who_is_overtaken_is_cut_off(streams: Streams, app: Any, conv_id: str) -> None:
    producer = streams.create(conv_id, capacity=65536)
    producer.write(b'x')

    def overtake() -> None:
        producer.write(bytes(70_000))

    with pytest.raises(ResponseCut):
        asyncio.run(messages(app, scope(path(conv_id)), overtake))
    producer.finish()


def test_who_is_overtaken_before_the_first_byte_still_gets_some(
    streams: Streams, app: Any, conv_id: str
) -> None:
    """Without any byte a client could not tell what has happened, and go on."""
    producer = streams.create(conv_id, capacity=65536)
    producer.write(b'x')
    came: list[bool] = []

    def overtake() -> None:
        producer.write(bytes(70_000))

    with pytest.raises(ResponseCut):
        asyncio.run(
            messages(app, scope(path(conv_id)), lambda: came.append(True), overtake)
        )
    assert came
    producer.finish()


@pytest.mark.parametrize('end', [False, True], ids=['live', 'ended'])
def test_who_is_served_as_the_process_leaves_is_cut_off(
    streams: Streams,
    app: Any,
    conv_id: str,
    end: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 300_000
    producer = streams.create(conv_id, capacity=1 << 20)
    producer.write(bytes(size))
    if end:
        producer.finish()
    came: list[bool] = []
    monkeypatch.setattr(Streams, 'leaving', lambda _self: bool(came))
    with pytest.raises(ResponseCut):
        asyncio.run(messages(app, scope(path(conv_id)), lambda: came.append(True)))
    # What is there already was no request in vain.
    assert came
    producer.finish()


def test_a_client_that_leaves_is_followed_no_more(
    streams: Streams, app: Any, conv_id: str
) -> None:
    producer = streams.create(conv_id)
    producer.write(b'x')

    async def leave() -> None:
        came = asyncio.Event()
        task = asyncio.create_task(messages(app, scope(path(conv_id)), came.set))
        await asyncio.wait_for(came.wait(), WAIT_S)
        assert producer.followers == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert producer.followers == 0
    producer.finish()


STATUS = {
    '/v1/stream/nothing': 404,
    '/v1/stream/': 400,
    '/v1/stream': 400,
    '/v1/stream/%ff': 400,
    '/v1/stream/%00': 400,
    '/v1/stream/' + 'x' * 513: 400,
    '/v1/stream/{}?from=-1': 400,
    '/v1/stream/{}?from=': 400,
    '/v1/stream/{}?from=1x': 400,
    f'/v1/stream/{{}}?from={1 << 63}': 400,
    f'/v1/stream/{{}}?from={10**19}': 400,
    '/v1/stream/{}?generation=0000000000000000': 409,
    '/v1/stream/{}?generation=no': 400,
    '/v1/stream/{}?from=1&from=2': 200,
    '/v1/stream/{}?token=x': 200,
    '/v1/stream?conv_id={}': 200,
    '/v1/%73tream/{}': 200,
}


@pytest.mark.parametrize('target', STATUS, ids=range(len(STATUS)))
def test_what_is_asked_for(
    streams: Streams, app: Any, conv_id: str, target: str
) -> None:
    finished(streams, conv_id)
    status, headers, body, whole = call(app, scope(target.format(conv_id)))
    assert (status, whole) == (STATUS[target], True)
    assert headers[b'content-length'] == b'%d' % len(body)
    assert (body.startswith(b'{"error": ')) == (status != 200)


@pytest.mark.parametrize(
    ('conv_id', 'raw'),
    [
        ('a::org/model', 'a::org%2Fmodel'),
        ('a/b', 'a/b'),
        ('\u00e4 +', '%C3%A4%20+'),
        ('%41', '%2541'),
        ('..', '%2e%2e'),
    ],
)
def test_ids_are_decoded(streams: Streams, app: Any, conv_id: str, raw: str) -> None:
    data = finished(streams, conv_id)
    status, _, body, _ = call(app, scope(path(raw)))
    assert (status, body) == (200, data)


def test_head_and_delete(streams: Streams, app: Any, conv_id: str) -> None:
    finished(streams, conv_id)
    status, headers, body, whole = call(app, scope(path(conv_id), 'HEAD'))
    assert (status, body, whole) == (200, b'', True)
    assert headers[b'stream-total-bytes'] == b'3000'
    assert headers[b'content-length'] == b'3000'
    status, headers, body, whole = call(app, scope(path(conv_id), 'DELETE'))
    assert (status, body, whole) == (204, b'', True)
    assert b'content-length' not in headers
    assert call(app, scope(path(conv_id)))[0] == 404


def test_what_has_not_begun_is_waited_for(
    streams: Streams, app: Any, conv_id: str
) -> None:
    producer = streams.create(conv_id, pending=True)

    async def begin() -> list[Any]:
        task = asyncio.create_task(messages(app, scope(path(conv_id))))
        assert await asyncio.to_thread(wait_until, lambda: producer.followers == 1)
        producer.begin('text/plain')
        producer.write(b'x')
        producer.finish()
        return await task

    start, *bodies = asyncio.run(begin())
    assert dict(start['headers'])[b'content-type'] == b'text/plain'
    assert b''.join(message['body'] for message in bodies) == b'x'


def test_what_is_evicted_before_it_has_begun_is_not_there(
    streams: Streams, app: Any, conv_id: str
) -> None:
    producer = streams.create(conv_id, pending=True)

    async def evict() -> list[Any]:
        task = asyncio.create_task(messages(app, scope(path(conv_id))))
        assert await asyncio.to_thread(wait_until, lambda: producer.followers == 1)
        await asyncio.to_thread(streams.evict, conv_id)
        return await task

    assert asyncio.run(evict())[0]['status'] == 404
    producer.finish()


def test_any_asgi_server_takes_it_for_what_it_is(app: Any) -> None:
    """uvicorn looks whether calling it makes a coroutine."""
    assert asyncio.iscoroutinefunction(app.__call__)


def test_keys_and_origins_go_the_same_way(
    streams: Streams, conv_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both of them set, no request for a stream gets as far as Falcon."""
    monkeypatch.setattr(Streams, 'attach', lambda *_, **__: streams)
    settings = Settings(
        dir=streams._process.directory.path, api_keys=('k',), cors_origins=(PAGE,)
    )
    service = create_app(settings)
    monkeypatch.setattr(service, 'falcon', None)
    key = {'authorization': 'Bearer k', 'origin': PAGE}
    owner = ApiKeys(('k',)).owner_of_key(b'k')
    assert owner is not None
    with streams.create(conv_id, owner=owner) as producer:
        producer.write(b'hers')
    target = path(conv_id)
    status, headers, body, _ = call(service, scope(target, **key))
    assert (status, body) == (200, b'hers')
    assert headers[b'access-control-allow-origin'] == PAGE.encode()
    assert headers[b'vary'] == b'Origin'
    for wrong in ({}, {'authorization': 'Bearer x'}):
        status, headers, _, _ = call(service, scope(target, origin=PAGE, **wrong))
        assert status == 401
        assert headers[b'www-authenticate'] == b'Bearer'
        # A page may also read why it was refused.
        assert headers[b'access-control-allow-origin'] == PAGE.encode()
    preflight = scope(
        target, 'OPTIONS', origin=PAGE, access_control_request_method='DELETE'
    )
    status, headers, _, _ = call(service, preflight)
    assert (status, headers[b'access-control-max-age']) == (204, b'600')
    assert call(service, scope(target, 'OPTIONS', **key))[0] == 200
    other = scope(target, **(key | {'origin': 'https://evil.example'}))
    assert b'access-control-allow-origin' not in call(service, other)[1]


@pytest.mark.parametrize('keys', [(), ('k',)], ids=['no keys', 'keys'])
@pytest.mark.parametrize('origins', [(), (PAGE,)], ids=['no origins', 'origins'])
def test_keys_protect_and_origins_see_each_without_the_other(
    streams: Streams,
    conv_id: str,
    monkeypatch: pytest.MonkeyPatch,
    keys: tuple[str, ...],
    origins: tuple[str, ...],
) -> None:
    monkeypatch.setattr(Streams, 'attach', lambda *_, **__: streams)
    where = streams._process.directory.path
    service = create_app(Settings(dir=where, api_keys=keys, cors_origins=origins))
    monkeypatch.setattr(service, 'falcon', None)
    owner = ApiKeys(keys).owner_of_key(b'k') or NOBODY
    with streams.create(conv_id, owner=owner) as producer:
        producer.write(b'hers')
    for headers, status in (
        ({}, 401 if keys else 200),
        ({'authorization': 'Bearer k'}, 200),
        ({'authorization': 'Bearer k', 'origin': PAGE}, 200),
    ):
        found, told, _, _ = call(service, scope(path(conv_id), **headers))
        assert found == status
        allowed = 'origin' in headers and bool(origins)
        assert (b'access-control-allow-origin' in told) == allowed
    preflight = {'origin': PAGE, 'access_control_request_method': 'DELETE'}
    found, told, _, _ = call(service, scope(path(conv_id), 'OPTIONS', **preflight))
    assert found == (204 if origins else 403)
    assert (b'access-control-allow-methods' in told) == bool(origins)


def test_a_reply_of_the_application_s_own_is_not_changed() -> None:
    """A refusal may be made once, and given to every request."""
    origins = Origins((PAGE,))
    once = refusal(403, 'no')
    before = list(once.headers)
    answering = Answering(None, lambda _: once, origins.headers)  # type: ignore[arg-type]

    class Reader:
        source = None

        async def send_head(self, message: Any) -> None:
            assert (b'vary', b'Origin') in message['headers']

        async def send(self, message: Any) -> None:
            pass

    for _ in range(2):
        asyncio.run(answering.answer(Request('HEAD', b'c'), Reader()))  # type: ignore[arg-type]
        assert once.headers == before
        assert once.body != b''
