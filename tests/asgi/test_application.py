"""The mountable ASGI application: where it is mounted, who may, what is handed on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shmstream import LocalError, Streams, browser, owner_of
from shmstream.asgi import Application, Permit
from shmstream.serving import Grant, Request, refusal
from tests.asgi.in_process import call, scope


@pytest.fixture
def there(streams: Streams, conv_id: str) -> str:
    """A stream ``<id>/m`` that has ended: an id with a slash."""
    with streams.create(f'{conv_id}/m') as producer:
        producer.write(b'it')
    return f'{conv_id}%2Fm'


async def other(asked: Any, _receive: Any, send: Any) -> None:
    """An application of somebody's."""
    if asked['type'] == 'http':
        await send({'type': 'http.response.start', 'status': 299, 'headers': []})
        await send({'type': 'http.response.body', 'body': b'other'})
    else:
        asked['seen'] = True


@pytest.mark.parametrize(
    ('root', 'full_path', 'full_raw'),
    [
        ('', True, True),
        # As routers and servers leave the mount's path in both, one or none of them.
        ('/api/chats', True, True),
        ('/api/chats', False, True),
        ('/api/chats', False, False),
        ('/api/chats', True, False),
    ],
)
def test_below_the_path_of_a_mount(
    streams: Streams, there: str, root: str, full_path: bool, full_raw: bool
) -> None:
    app = Application(streams)
    asked = scope(f'/{there}', root=root)
    if full_path:
        asked['path'] = root + asked['path']
    if full_raw:
        asked['raw_path'] = root.encode() + asked['raw_path']
    assert call(app, asked)[2] == b'it'
    # Not every server has it.
    del asked['raw_path']
    assert call(app, asked)[2] == b'it'


@pytest.mark.parametrize('otherwise', [None, other], ids=['alone', 'in-front'])
def test_the_module_for_pages_is_anybody_s(streams: Streams, otherwise: Any) -> None:
    app = Application(
        streams, lambda _: refusal(403, 'No'), prefix='/chat', otherwise=otherwise
    )
    status, headers, body, _ = call(app, scope('/chat/shmstream.js'))
    assert (status, body) == (200, browser.module())
    assert headers[b'content-type'] == browser.CONTENT_TYPE.encode()
    assert call(app, scope('/chat/shmstream.js', 'HEAD'))[2] == b''
    assert call(app, scope('/chat/shmstream.js', 'DELETE'))[0] == 403


@pytest.mark.parametrize('otherwise', [None, other], ids=['alone', 'in-front'])
def test_a_chat_may_have_the_module_s_name(streams: Streams, otherwise: Any) -> None:
    app = Application(streams, prefix='/chat', otherwise=otherwise)
    assert call(app, scope('/chat/shmstream.js/stream'))[0] == 204
    with streams.create(browser.MODULE) as producer:
        producer.write(b'data: 1\n\n')
        assert call(app, scope('/chat/shmstream.js/stream', 'HEAD'))[0] == 200


@pytest.mark.parametrize('otherwise', [None, other], ids=['alone', 'in-front'])
def test_the_routes_of_a_chat(streams: Streams, conv_id: str, otherwise: Any) -> None:
    app = Application(streams, owned, prefix='/chat', otherwise=otherwise)
    target = f'/chat/{conv_id}%2Fa'
    alice = {'x_user': 'alice'}
    owner = owner_of('alice')
    with streams.create(f'{conv_id}/a', owner=owner) as producer:
        producer.write(b'data: 1\n\n')
        assert call(app, scope(f'{target}/stream', 'HEAD', **alice))[0] == 200
        assert call(app, scope(f'{target}/stream', x_user='bob'))[0] == 204
        assert call(app, scope(f'{target}/stop', 'POST'))[0] == 403
        status, headers, body, _ = call(app, scope(f'{target}/stop', 'POST', **alice))
        assert (status, body) == (200, b'{"success":true}')
        assert headers[b'content-length'] == b'%d' % len(body)
        assert not producer.write(b'data: 2\n\n')
    assert call(app, scope(f'{target}/stream', **alice))[0] == 204
    assert call(app, scope(f'{target}/stream'))[0] == 403


@pytest.mark.parametrize('otherwise', [None, other], ids=['alone', 'in-front'])
def test_who_may_is_asked_for_the_id_of_the_chat(
    streams: Streams, otherwise: Any
) -> None:
    asked = []

    def permit(request: Request) -> Any:
        asked.append(request.conversation_id())
        return refusal(403, 'Nobody may')

    app = Application(streams, permit, prefix='/chat', otherwise=otherwise)
    for method, target in (('GET', '/chat/a/stream'), ('POST', '/chat/a/stop')):
        assert call(app, scope(target, method))[0] == 403
    assert asked == ['a', 'a']


def owned(request: Request) -> Any:
    """Tell users apart by a header."""
    user = request.header(b'x-user')
    return refusal(403, 'Who are you?') if user is None else owner_of(user.decode())


def test_a_stop_whose_client_leaves_within_its_body_stops_nothing(
    streams: Streams, conv_id: str
) -> None:
    events = [
        {'type': 'http.request', 'body': b'{', 'more_body': True},
        {'type': 'http.disconnect'},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    with streams.create(conv_id) as producer:
        asked = scope(f'/{conv_id}/stop', 'POST')
        asyncio.run(Application(streams)(asked, receive, send))
        assert producer.write(b'data: 1\n\n')
    assert sent[0]['status'] == 400


def test_a_stop_whose_body_does_not_come_is_refused(
    streams: Streams, conv_id: str
) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    app = Application(streams, timeout_s=0.01)
    asyncio.run(app(scope(f'/{conv_id}/stop', 'POST'), receive, send))
    assert sent[0]['status'] == 408


def test_all_that_is_not_asked_of_a_stream_is_handed_on(
    streams: Streams, there: str
) -> None:
    app = Application(streams, prefix='/chats', otherwise=other)
    assert call(app, scope(f'/chats/{there}'))[2] == b'it'
    assert call(app, scope('/chats/nobody'))[0] == 404
    for method, target in [
        ('POST', f'/chats/{there}'),
        ('OPTIONS', f'/chats/{there}'),
        ('GET', f'/chatsx/{there}'),
        ('POST', '/chats/a/b/stop'),
        ('GET', '/chats/a/b/stream'),
        ('GET', '/'),
        ('DELETE', f'/x/chats/{there}'),
    ]:
        assert call(app, scope(target, method))[0] == 299
    lifespan: dict[str, Any] = {'type': 'lifespan'}

    events = [{'type': 'lifespan.shutdown'}]

    async def receive() -> Any:
        return events.pop()

    async def send(_event: Any) -> None:
        pass

    asyncio.run(app(lifespan, receive, send))
    assert lifespan['seen']


def test_without_another_application_the_rest_is_404_and_405(
    streams: Streams, there: str
) -> None:
    app = Application(streams, prefix='/chats')
    assert call(app, scope(f'/chats/{there}', 'POST'))[0] == 405
    assert call(app, scope('/other'))[0] == 404
    assert call(app, scope('/other', 'DELETE'))[0] == 404


def spoken(app: Application, kind: str, *events: str) -> list[dict[str, Any]]:
    """What is sent on a scope that is no request, as these events are received."""
    left = list(events)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {'type': left.pop(0)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({'type': kind, 'path': '/a'}, receive, send))
    assert not left
    return sent


def test_alone_it_answers_what_is_no_request(streams: Streams) -> None:
    app = Application(streams)
    assert spoken(app, 'lifespan', 'lifespan.startup', 'lifespan.shutdown') == [
        {'type': 'lifespan.startup.complete'},
        {'type': 'lifespan.shutdown.complete'},
    ]
    assert spoken(app, 'websocket', 'websocket.connect') == [
        {'type': 'websocket.close'}
    ]
    assert spoken(app, 'websocket', 'websocket.disconnect') == []
    with pytest.raises(LocalError, match='other'):
        spoken(app, 'other')


async def by_header(request: Request) -> Any:
    return by_header_at_once(request)


def by_header_at_once(request: Request) -> Any:
    user = request.header(b'x-user')
    assert request.environment['type'] == 'http'
    return refusal(403, 'Log in first') if user is None else owner_of(user.decode())


@pytest.mark.parametrize('permit', [by_header, by_header_at_once])
def test_the_application_says_whose_streams_are_seen(
    streams: Streams, conv_id: str, permit: Permit
) -> None:
    with streams.create(conv_id, owner=owner_of('alice')) as producer:
        producer.write(b'hers')
    app = Application(streams, permit)
    target = f'/{conv_id}'
    assert call(app, scope(target, x_user='alice'))[2] == b'hers'
    assert call(app, scope(target, x_user='bob'))[0] == 404
    status, _, body, _ = call(app, scope(target))
    assert (status, b'Log in first' in body) == (403, True)
    assert call(app, scope(target, 'HEAD'))[2] == b''
    assert call(app, scope(target, 'DELETE'))[0] == 403
    assert call(app, scope(target, 'DELETE', x_user='bob'))[0] == 204
    assert call(app, scope(target, x_user='alice'))[2] == b'hers'
    assert call(app, scope(target, 'DELETE', x_user='alice'))[0] == 204
    assert call(app, scope(target, x_user='alice'))[0] == 404


def test_a_grant_reads_one_stream_and_stops_none(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id, owner=owner_of('alice')) as producer:
        producer.write(b'hers')
    with streams.create(f'{conv_id}-other', owner=owner_of('alice')):
        pass
    grant = Grant(owner_of('alice'), producer.generation)
    app = Application(streams, lambda _: grant)
    for target, status in [(f'/{conv_id}', 200), (f'/{conv_id}-other', 404)]:
        assert call(app, scope(target, 'DELETE'))[0] == 403
        assert call(app, scope(target))[0] == status


def test_who_may_cannot_be_found_out_is_500_and_opens_no_door(
    streams: Streams, there: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Request) -> bytes:
        raise ZeroDivisionError('of the application')

    for permit in (broken, lambda _: None, lambda _: 'alice', lambda _: b'alice'):
        caplog.clear()
        app = Application(streams, permit)  # type: ignore[arg-type]
        assert call(app, scope(f'/{there}'))[0] == 500
        assert caplog.records
