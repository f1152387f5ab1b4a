"""One table of request targets: both writers must make the same request of each."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest

from shmstream.asgi import application as asgi
from shmstream.serving import refusal
from shmstream.serving.problems import Problem
from shmstream.serving.request import Request
from shmstream.wsgi import application as wsgi
from tests.asgi.in_process import call, scope

NO_STREAM = None
MISSING = 'Missing conversation id in path'
NOT_UTF_8 = 'conversation id is not valid UTF-8'

# What follows the path of the mount, the prefix, and the id or the refusal.
TARGETS = [
    ('/v1/stream/c', '/v1/stream', 'c'),
    ('/v1/stream/a/b', '/v1/stream', 'a/b'),
    ('/v1/stream/a%2Fb', '/v1/stream', 'a/b'),
    ('/v1/stream//c', '/v1/stream', '/c'),
    ('/v1/stream/c/', '/v1/stream', 'c/'),
    ('/v1/stream/%2Fc', '/v1/stream', '/c'),
    # The slash after the prefix, encoded.
    ('/v1/stream%2Fc', '/v1/stream', 'c'),
    ('/v1/stream%2fc', '/v1/stream', 'c'),
    ('/v1/stream%2Fa%2Fb', '/v1/stream', 'a/b'),
    ('/v1/stream%2F/c', '/v1/stream', '/c'),
    ('/v1/stream%2F', '/v1/stream', MISSING),
    ('/v1/stream%2F?conv_id=c', '/v1/stream', 'c'),
    ('/v1/stream%252Fc', '/v1/stream', NO_STREAM),
    ('/v1/stream2Fc', '/v1/stream', NO_STREAM),
    # Other characters of the prefix, encoded.
    ('/v1/%73tream/c', '/v1/stream', 'c'),
    ('/v1/strea%6D/c', '/v1/stream', 'c'),
    ('/v1/strea%6d%2Fc', '/v1/stream', 'c'),
    ('/v1%2Fstream/c', '/v1/stream', 'c'),
    ('%2Fv1%2Fstream%2Fc', '/v1/stream', 'c'),
    ('/v1%2Fstream/a/b', '/v1/stream', 'a/b'),
    ('/%761/stream', '/v1/stream', MISSING),
    ('/%761/stream?conv_id=c', '/v1/stream', 'c'),
    ('/v1/stream', '/v1/stream', MISSING),
    ('/v1/stream/', '/v1/stream', MISSING),
    ('/v1/stream?conv_id=a%2Fb', '/v1/stream', 'a/b'),
    ('/v1/stream/c?conv_id=d', '/v1/stream', 'c'),
    ('/v1/streams', '/v1/stream', NO_STREAM),
    ('/v1', '/v1/stream', NO_STREAM),
    ('/', '/v1/stream', NO_STREAM),
    # The id.
    ('/v1/stream/%2541', '/v1/stream', '%41'),
    ('/v1/stream/%4', '/v1/stream', '%4'),
    ('/v1/stream/a+b', '/v1/stream', 'a+b'),
    ('/v1/stream/%C3%A4%20%3F', '/v1/stream', 'ä ?'),
    ('/v1/stream/%ff', '/v1/stream', NOT_UTF_8),
    ('/v1/stream/a%C3', '/v1/stream', NOT_UTF_8),
    ('/v1/stream?conv_id=%ff', '/v1/stream', NOT_UTF_8),
    # Other prefixes.
    ('/c', '', 'c'),
    ('/a/b', '', 'a/b'),
    ('%2Fc', '', 'c'),
    ('/%2Fc', '', '/c'),
    ('/%ff', '', NOT_UTF_8),
    ('/', '', MISSING),
    ('/ch%C3%A4ts/c', '/chäts', 'c'),
    ('/ch%c3%a4ts%2fc', '/chäts', 'c'),
    ('/a%2541/c', '/a%41', 'c'),
    ('/a%41/c', '/a%41', NO_STREAM),
]


def understood(request: Request | None) -> str | None:
    """The id that a request names, or why it is refused; None: it is no stream's."""
    if request is None:
        return None
    try:
        return request.conversation_id()
    except Problem as ex:
        return ex.message


@pytest.mark.parametrize(('target', 'prefix', 'expected'), TARGETS)
@pytest.mark.parametrize('root', ['', '/api', '/api/v1/stream', '/ä pi'])
def test_a_target_names_the_same_id_everywhere(
    target: str, prefix: str, expected: str | None, root: str
) -> None:
    path, _, query = target.partition('?')
    decoded = unquote_to_bytes(path)
    environ: dict[str, Any] = {
        'REQUEST_METHOD': 'GET',
        'SCRIPT_NAME': root.encode().decode('latin-1'),
        'PATH_INFO': decoded.decode('latin-1'),
        'QUERY_STRING': query,
    }
    assert understood(wsgi.request_of(environ, prefix)) == expected
    roots = {'', root}
    # As routers and servers leave the mount's path in both, one or none of them.
    for in_path, in_raw in itertools.product(roots, roots):
        asked = scope(target, root=root)
        asked['path'] = in_path + decoded.decode('utf-8', 'replace')
        asked['raw_path'] = (quote(in_raw) + path).encode()
        assert understood(asgi.request_of(asked, prefix)) == expected


# Before another application: what follows the prefix, and whether it is handed on.
HANDED_ON = [
    ('', True),
    ('/', True),
    ('?page=2', True),
    ('/?page=2', True),
    ('?conv_id=', True),
    ('/7/title', True),
    ('/7/', True),
    ('//7', True),
    ('/7/title?conv_id=7', True),
    ('/7', False),
    ('/7?page=2', False),
    ('%2F7', False),
    ('?conv_id=7', False),
    ('/?conv_id=7', False),
    ('?conv_id=7%2Ftitle', False),
    ('/%ff', False),
]


@pytest.mark.parametrize(('below', 'handed_on'), HANDED_ON)
@pytest.mark.parametrize('prefix', ['/chats', ''])
@pytest.mark.parametrize('method', ['GET', 'HEAD', 'DELETE'])
def test_before_an_application_only_what_names_a_stream_is_taken(
    below: str, handed_on: bool, prefix: str, method: str
) -> None:
    target = prefix + below
    if not target.startswith('/'):
        target = f'/{target}'.replace('/%2F', '/')
    seen: list[str] = []

    async def asgi_app(_scope: Any, _receive: Any, send: Any) -> None:
        seen.append('asgi')
        await send({'type': 'http.response.start', 'status': 299, 'headers': []})
        await send({'type': 'http.response.body', 'body': b''})

    def wsgi_app(_environ: Any, _start_response: Any) -> list[bytes]:
        seen.append('wsgi')
        return []

    def permit(_: Request) -> Any:
        return refusal(403, 'taken')

    streams: Any = None
    status = call(
        asgi.Application(streams, permit, prefix=prefix, otherwise=asgi_app),
        scope(target, method),
    )[0]
    assert status == (299 if handed_on else 403)
    path, _, query = target.partition('?')
    environ = {
        'REQUEST_METHOD': method,
        'PATH_INFO': unquote_to_bytes(path).decode('latin-1'),
        'QUERY_STRING': query,
    }
    app = wsgi.Application(streams, permit, prefix=prefix, otherwise=wsgi_app)
    app(environ, lambda *_: None)
    assert seen == (['asgi', 'wsgi'] if handed_on else [])


def test_a_slash_in_an_id_is_encoded_before_an_application() -> None:
    """A WSGI server decodes it: there such an id can be named by ``?conv_id=`` only."""
    asked = asgi.request_of(scope('/chats/a%2Fb'), '/chats')
    assert asked is not None
    assert asked.has_plain_id()
    environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': '/chats/a/b'}
    same = wsgi.request_of(environ, '/chats')
    assert same is not None
    assert not same.has_plain_id()


def test_a_path_that_was_rewritten_counts_rather_than_the_one_that_was_sent() -> None:
    asked = scope('/tenant/chats/c')
    asked['path'] = '/chats/a b'
    assert understood(asgi.request_of(asked, '/chats')) == 'a b'


@pytest.mark.parametrize('slash', ['/', '%2F', '%2f'])
def test_the_path_of_the_mount_may_be_encoded_as_well(slash: str) -> None:
    for mount in ('/api', '/%61pi', '%2Fapi'):
        asked = scope(f'{mount}{slash}c', root='/api')
        assert understood(asgi.request_of(asked, '')) == 'c'
        asked = scope(f'{mount}{slash}chats{slash}c', root='/api')
        assert understood(asgi.request_of(asked, '/chats')) == 'c'
