"""The mountable WSGI application, called in process as a server calls it."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from shmstream import Streams, browser, owner_of
from shmstream.metrics.catalogue import BYTES
from shmstream.serving import Request, refusal
from shmstream.wsgi import Application
from shmstream.wsgi.application import request_of
from tests.support.client import TIMEOUT_S
from tests.support.leaks import wait_until


def call(
    app: Any,
    target: str,
    method: str = 'GET',
    more: dict[str, Any] | None = None,
    **headers: str,
) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body."""
    path, _, query = target.partition('?')
    environ: dict[str, Any] = {
        'REQUEST_METHOD': method,
        'SCRIPT_NAME': '',
        'PATH_INFO': unquote_to_bytes(path).decode('latin-1'),
        'QUERY_STRING': query,
        'wsgi.multithread': True,
        **(more or {}),
    }
    environ |= {f'HTTP_{name.upper()}': value for name, value in headers.items()}
    started: list[Any] = []
    body = app(environ, lambda *start: started.append(start))
    try:
        data = b''.join(body)
    finally:
        getattr(body, 'close', lambda: None)()
    ((status, pairs),) = started
    assert len(dict(pairs)) == len(pairs)
    return status, dict(pairs), data


def other(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """An application of somebody's."""
    start_response('299 Other', [])
    return [b'other']


def finished(streams: Streams, conv_id: str, size: int = 3000) -> bytes:
    data = bytes(number % 251 for number in range(size))
    with streams.create(conv_id, capacity=1 << 20) as producer:
        producer.write(data)
    return data


@pytest.mark.parametrize('otherwise', [None, other], ids=['alone', 'in-front'])
def test_the_module_for_pages_is_anybody_s(streams: Streams, otherwise: Any) -> None:
    app = Application(
        streams, lambda _: refusal(403, 'No'), prefix='/chat', otherwise=otherwise
    )
    status, headers, body = call(app, '/chat/shmstream.js')
    assert (status, body) == ('200 OK', browser.module())
    assert headers['content-type'] == browser.CONTENT_TYPE
    assert call(app, '/chat/shmstream.js', 'DELETE')[0] == '403 Forbidden'


@pytest.mark.parametrize('otherwise', [None, other], ids=['alone', 'in-front'])
def test_a_chat_may_have_the_module_s_name(streams: Streams, otherwise: Any) -> None:
    app = Application(streams, prefix='/chat', otherwise=otherwise)
    assert call(app, '/chat/shmstream.js/stream')[0][:3] == '204'
    with streams.create(browser.MODULE) as producer:
        producer.write(b'data: 1\n\n')
        assert call(app, '/chat/shmstream.js/stream', 'HEAD')[0][:3] == '200'


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
        assert call(app, target, method)[0][:3] == '403'
    assert asked == ['a', 'a']


def test_the_routes_of_a_chat(streams: Streams, conv_id: str) -> None:
    def owned(request: Request) -> Any:
        user = request.header(b'x-user')
        return refusal(403, 'Who?') if user is None else owner_of(user.decode())

    app = Application(streams, owned, prefix='/chat', otherwise=other)
    target = f'/chat/{conv_id}'
    with streams.create(conv_id, owner=owner_of('alice')) as producer:
        producer.write(b'data: 1\n\n')

        def stop(body: bytes, length: bool = True) -> tuple[str, bytes]:
            environ: dict[str, Any] = {'wsgi.input': io.BytesIO(body + b'more')}
            if length:
                environ['CONTENT_LENGTH'] = str(len(body))
            answered = call(app, f'{target}/stop', 'POST', environ, X_USER='alice')
            return answered[0][:3], answered[2]

        assert call(app, f'{target}/stream', 'HEAD', X_USER='alice')[0][:3] == '200'
        assert call(app, f'{target}/stream', X_USER='bob')[0][:3] == '204'
        assert call(app, f'{target}/stop', 'POST')[0][:3] == '403'
        assert call(app, f'{target}/b/stop', 'POST')[0][:3] == '299'
        assert stop(b'{')[0] == '400'
        assert producer.write(b'data: 2\n\n')
        assert stop(b'{}') == ('200', b'{"success":true}')
        assert not producer.write(b'data: 3\n\n')
    assert stop(b'', length=False)[0] == '200'
    assert call(app, f'{target}/stream', X_USER='alice')[0][:3] == '204'


@pytest.mark.parametrize('size', [0, 3000, 65536, 65537, 700_000])
def test_what_has_ended(streams: Streams, size: int) -> None:
    data = finished(streams, 'a/ä', size)
    app = Application(streams)
    for offset in (0, 1, size, size + 5):
        status, headers, body = call(app, f'/a/%C3%A4?from={offset}')
        assert (status, body) == ('200 OK', data[offset:])
        assert headers['content-length'] == str(len(body))
        assert headers['stream-state'] == 'complete'
    status, headers, body = call(app, '/a/%C3%A4', 'HEAD')
    assert (status, body) == ('200 OK', b'')
    assert headers['content-length'] == headers['stream-total-bytes'] == str(size)
    assert streams._process.followers.number == 0


def test_what_goes_on(streams: Streams) -> None:
    producer = streams.create('a')
    producer.write(b'one,two,')

    def end() -> None:
        assert wait_until(lambda: producer.followers == 1)
        producer.write(b'three')
        producer.finish()

    thread = threading.Thread(target=end)
    thread.start()
    status, headers, body = call(Application(streams), '/a?from=4')
    thread.join()
    assert (status, body) == ('200 OK', b'two,three')
    assert 'content-length' not in headers


def test_who_is_overtaken_is_cut_off(streams: Streams) -> None:
    producer = streams.create('a', capacity=65536)
    producer.write(b'x')

    def overtake(*_: Any) -> None:
        producer.write(bytes(70_000))

    environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': '/a'}
    body = Application(streams)(environ, overtake)
    with pytest.raises(ConnectionResetError):
        b''.join(body)
    producer.finish()


@pytest.mark.parametrize('end', ['begin', 'cancel', 'evict'])
def test_what_has_not_begun_is_waited_for(streams: Streams, end: str) -> None:
    producer = streams.create('a', pending=True)

    def go_on() -> None:
        assert wait_until(lambda: producer.followers == 1)
        if end == 'begin':
            producer.begin('text/plain')
            producer.write(b'x')
            producer.finish()
        else:
            getattr(streams, end)('a')

    thread = threading.Thread(target=go_on)
    thread.start()
    status, headers, body = call(Application(streams), '/a')
    thread.join()
    # The wait is no reader: the stream is counted once, by who gets it.
    assert producer._segment.followers.served()[0] <= 1
    counts = streams._process.counts.words
    assert sum(streams._process.followers.by_transport) == 0
    streams._process._tell()
    assert counts[BYTES.of('out')] == (1 if end == 'begin' else 0)
    if end == 'begin':
        assert (status, body) == ('200 OK', b'x')
        assert headers['content-type'] == 'text/plain'
    else:
        assert status == '404 Not Found'
    producer.finish()


def test_what_does_not_begin_is_503(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('shmstream.serving.get_head_delete.PENDING_S', 0.05)
    with streams.create('a', pending=True) as producer:
        status, headers, _ = call(Application(streams), '/a')
        assert status == '503 Service Unavailable'
        assert headers['retry-after'] == '2'
        assert producer.followers == 0


def test_a_client_that_leaves_is_not_waited_for(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread comes back long before the wait for the stream's begin is over."""
    monkeypatch.setattr('shmstream.serving.get_head_delete.PENDING_S', 3600.0)
    ours, theirs = socket.socketpair()
    done = threading.Event()
    statuses: list[str] = []

    def ask() -> None:
        environ = {
            'REQUEST_METHOD': 'GET',
            'PATH_INFO': '/a',
            'gunicorn.socket': ours,
        }
        Application(streams)(environ, lambda status, _: statuses.append(status))
        done.set()

    with ours, theirs, streams.create('a', pending=True) as producer:
        thread = threading.Thread(target=ask)
        thread.start()
        assert wait_until(lambda: producer.followers == 1)
        assert not done.is_set()
        theirs.close()
        left = done.wait(TIMEOUT_S)
        producer.finish()
        thread.join()
    assert left
    assert statuses == ['503 Service Unavailable']


def test_errors_and_delete(streams: Streams) -> None:
    finished(streams, 'a')
    app = Application(streams)
    assert call(app, '/a', 'DELETE') == ('204 No Content', {}, b'')
    assert call(app, '/a')[0] == '404 Not Found'
    assert call(app, '/a', 'POST')[0] == '405 Method Not Allowed'
    assert call(app, '/')[0] == call(app, '/%ff')[0] == '400 Bad Request'
    assert call(app, '/nobody', 'HEAD')[2] == b''


def test_all_that_is_not_asked_of_a_stream_is_handed_on(streams: Streams) -> None:
    data = finished(streams, 'a')
    app = Application(streams, prefix='/chats', otherwise=other)
    assert call(app, '/chats/a')[2] == data
    assert call(app, '/chats?conv_id=a')[2] == data
    for method, target in [('POST', '/chats/a'), ('GET', '/chatsx/a'), ('GET', '/')]:
        assert call(app, target, method)[0] == '299 Other'
    alone = Application(streams, prefix='/chats')
    assert call(alone, '/chatsx/a')[0] == '404 Not Found'


def test_alone_an_id_may_end_like_a_route_only_in_the_query(streams: Streams) -> None:
    app = Application(streams, prefix='/chat')
    finished(streams, 'a/stream')
    assert call(app, '/chat/a%2Fstream')[0][:3] == '204'
    assert call(app, '/chat?conv_id=a%2Fstream')[0][:3] == '200'


def test_headers_that_cgi_names_otherwise_are_headers() -> None:
    environ = {
        'REQUEST_METHOD': 'GET',
        'PATH_INFO': '/a',
        'CONTENT_TYPE': 'text/plain',
        'CONTENT_LENGTH': '3',
        'HTTP_X_USER': 'alice,bob',
        # As some servers translate ``Content_Length``.
        'HTTP_CONTENT_LENGTH': '4',
    }
    request = request_of(environ, '')
    assert request is not None
    assert sorted(request.headers) == [
        (b'content-length', b'3'),
        (b'content-type', b'text/plain'),
        (b'x-user', b'alice,bob'),
    ]
    empty = {'CONTENT_TYPE': '', 'CONTENT_LENGTH': ''}
    request = request_of(environ | empty, '')
    assert request is not None
    assert list(request.headers) == [(b'x-user', b'alice,bob')]


def test_the_application_says_whose_streams_are_seen(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    def permit(request: Request) -> Any:
        user = request.header(b'x-user')
        assert request.environment['PATH_INFO'] == '/a'
        if user == b'broken':
            raise ZeroDivisionError
        return refusal(403, 'Log in') if user is None else owner_of(user.decode())

    with streams.create('a', owner=owner_of('alice')) as producer:
        producer.write(b'hers')
    app = Application(streams, permit)
    assert call(app, '/a', x_user='alice')[2] == b'hers'
    assert call(app, '/a', x_user='bob')[0] == '404 Not Found'
    assert call(app, '/a')[0] == '403 Forbidden'
    assert call(app, '/a', 'HEAD')[2] == b''
    assert not caplog.records
    assert call(app, '/a', x_user='broken')[0] == '500 Internal Server Error'
    assert caplog.records
    assert call(app, '/a', 'DELETE', x_user='bob')[0] == '204 No Content'
    assert call(app, '/a', x_user='alice')[2] == b'hers'


def test_f74_what_failed_and_cannot_say_so_is_cut(streams: Streams) -> None:
    producer = streams.create('cut', content_type='text/plain')
    producer.write(b'half')
    producer.abort('it broke')
    app = Application(streams)
    with pytest.raises(ConnectionResetError, match='it broke'):
        call(app, '/cut')
    status, _, body = call(app, '/cut?from=4')
    assert status.startswith('502')
    assert b'it broke' in body
    status, headers, _ = call(app, '/cut', 'HEAD')
    assert status.startswith('200')
    assert 'content-length' not in {name.lower() for name in headers}


class _Lost(io.BytesIO):
    """The input of a request whose client has left."""

    def read(self, _size: int | None = -1) -> bytes:
        raise OSError('client disconnected')


@pytest.mark.parametrize(
    ('more', 'status'),
    [
        ({'CONTENT_LENGTH': '9', 'wsgi.input': io.BytesIO(b'{}')}, '400'),
        ({'CONTENT_LENGTH': '9', 'wsgi.input': io.BytesIO()}, '400'),
        ({'CONTENT_LENGTH': '\u00b2', 'wsgi.input': io.BytesIO(b'{}')}, '400'),
        ({'CONTENT_LENGTH': '9' * 5000, 'wsgi.input': io.BytesIO(b'{}')}, '400'),
        ({'CONTENT_LENGTH': '-1', 'wsgi.input': io.BytesIO(b'{}')}, '400'),
        ({'CONTENT_LENGTH': '9', 'wsgi.input': _Lost()}, '400'),
        ({'wsgi.input_terminated': True, 'wsgi.input': _Lost()}, '400'),
        (
            {'HTTP_TRANSFER_ENCODING': 'chunked', 'wsgi.input': io.BytesIO(b'{}')},
            '411',
        ),
    ],
)
def test_a_stop_whose_body_is_lost_stops_nothing(
    streams: Streams, conv_id: str, more: dict[str, Any], status: str
) -> None:
    app = Application(streams, prefix='/chat', otherwise=other)
    with streams.create(conv_id) as producer:
        assert call(app, f'/chat/{conv_id}/stop', 'POST', more)[0][:3] == status
        assert producer.write(b'data: 1\n\n')
        whole = more | {
            'CONTENT_LENGTH': '',
            'wsgi.input': io.BytesIO(b'{}'),
            'wsgi.input_terminated': True,
        }
        assert call(app, f'/chat/{conv_id}/stop', 'POST', whole)[0][:3] == '200'
        assert not producer.write(b'data: 2\n\n')
