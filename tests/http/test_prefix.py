"""F95, F96: below which path the service is found, and what is a stream's address."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from shmstream.asgi.application import request_of
from shmstream.http.prefix import Prefix, prefix_of
from tests.support.client import Client, path
from tests.support.service import Service

ASKED = {'max_tokens': 3, 'tokens_per_second': 1000}


def posted_and_found(client: Client, below: str, **headers: str) -> None:
    """A stream's ``Location``, asked for as a client does, is that stream."""
    body = b'{"messages": [], "stream": true, "max_tokens": 3}'
    sent = {'X-Conversation-Id': 'a/b', **headers}
    with client.open('POST', f'{below}/v1/chat/completions', body, sent) as post:
        whole = post.rest()
    assert post.status == 200
    where = post.headers['location']
    assert where == '/pre/v1/stream/a%2Fb'
    assert post.headers['content-location'] == where
    at = below + where.removeprefix('/pre')
    reply = client.call('GET', at, headers=headers)
    assert reply.body == whole
    lookup = client.call(
        'POST',
        f'{below}/v1/streams/lookup',
        b'{"conversation_ids": ["a/b"]}',
        headers,
    )
    assert len(lookup.json()) == 1
    assert client.call('GET', f'{below}/healthz', headers=headers).status == 200
    assert client.call('GET', f'{below}/_shmstream/', headers=headers).status == 200
    assert client.call('DELETE', at, headers=headers).status == 204
    assert client.call('GET', at, headers=headers).status == 404


@pytest.mark.parametrize(
    'how',
    [
        {'environment': {'SCRIPT_NAME': '/pre'}},
        {'environment': {'SCRIPT_NAME': '/pre/'}},
        {'arguments': ('--root-path', '/pre')},
    ],
)
def test_f95_a_prefix_that_the_server_has_is_said_and_understood(
    serve: Callable[..., Service], how: dict[str, Any]
) -> None:
    client = serve(workers=2, **how).client()
    posted_and_found(client, '/pre')
    # A proxy in front may have taken it away.
    posted_and_found(client, '')


def test_f95_so_is_one_that_a_proxy_says(
    demo: Service, serve: Callable[..., Service]
) -> None:
    # This proxy takes it away, and says so.
    for prefix in ('/pre', '/pre/', '/pre, /other'):
        posted_and_found(demo.client(), '', **{'X-Forwarded-Prefix': prefix})
    # This one says so, and leaves it in the path: then the operator says it, too.
    service = serve(workers=2, environment={'SCRIPT_NAME': '/pre'})
    posted_and_found(service.client(), '/pre', **{'X-Forwarded-Prefix': '/pre'})


def test_f95_what_a_client_says_leads_to_no_other_path(demo: Service) -> None:
    client = demo.client()
    with client.post('there', ASKED) as post:
        whole = post.rest()
    body = b'{"messages": [], "stream": false, "max_tokens": 3}'
    for below in ('/public', '/v1', '/anything'):
        said = {'X-Forwarded-Prefix': below}
        client.call('DELETE', f'{below}/v1/stream/there', headers=said)
        assert client.get(path('there'), **said).body == whole
        assert client.get(f'{below}/_shmstream/', **said).status == 404
        # What begins with the same name is the upstream's.
        reply = client.call('POST', '/v1/chat/completions', body, said)
        assert reply.status == 200


@pytest.mark.parametrize('own', ['', '/pre'])
def test_f95_no_cache_gives_its_addresses_to_others(
    demo: Service, serve: Callable[..., Service], own: str
) -> None:
    service = serve(environment={'SCRIPT_NAME': own}) if own else demo
    client = service.client()
    for said, expected, varies in (
        ({}, own, False),
        ({'X-Forwarded-Prefix': '/forged'}, f'/forged{own}', True),
        ({'X-Forwarded-Prefix': '//no.prefix'}, own, False),
    ):
        with client.post('varies', ASKED, **said) as post:
            post.rest()
        assert post.headers['location'] == f'{expected}/v1/stream/varies'
        assert ('X-Forwarded-Prefix' in post.headers.get('vary', '')) is varies
        # Here nothing has been changed.
        reply = client.get('/v1/models', **said)
        assert 'vary' not in reply.headers


@pytest.mark.parametrize(
    'prefix',
    [
        '//evil.example',
        'https://evil.example',
        '/a/../b',
        '/a//b',
        '/a b',
        '/',
        'x',
        '/%2e%2e/x',
    ],
)
def test_f95_what_cannot_be_one_is_none(demo: Service, prefix: str) -> None:
    headers = {'X-Forwarded-Prefix': prefix}
    with demo.client().post('none', ASKED, **headers) as post:
        post.rest()
    assert post.headers['location'] == '/v1/stream/none'


@pytest.mark.parametrize(
    'how',
    [
        {'environment': {'SCRIPT_NAME': 'pre'}},
        {'environment': {'SCRIPT_NAME': '//evil.example'}},
        {'arguments': ('--root-path', 'https://x/pre')},
    ],
)
def test_f95_nor_does_it_start_below_one(tmp_path: Path, how: dict[str, Any]) -> None:
    service = Service(tmp_path / 'log', **how)
    service.spawn()
    assert service.wait() == 1
    (line,) = (x for x in service.text().splitlines() if '[INFO]' not in x)
    assert 'must be a path like /chat' in line


def cut(target: str, root: str = '', **headers: str) -> tuple[str, str, bytes]:
    raw = [(n.replace('_', '-').encode(), v.encode()) for n, v in headers.items()]
    scope = {'path': target, 'raw_path': target.encode(), 'headers': raw}
    scope = Prefix().cut(scope | {'root_path': root})
    return prefix_of(scope), scope['path'], scope['raw_path']


@pytest.mark.parametrize(
    ('target', 'root', 'forwarded', 'prefix', 'below'),
    [
        ('/v1/x', '', '', '', '/v1/x'),
        ('/pre/v1/x', '/pre', '', '/pre', '/v1/x'),
        ('/prefix/v1/x', '/pre', '', '/pre', '/prefix/v1/x'),
        ('/pre/v1/x', '/pre', '/a', '/a/pre', '/v1/x'),
        ('/v1/x', '/pre', '/a/pre', '/a/pre', '/v1/x'),
        # The prefix of a gateway is the API's own; it takes it away, or does not.
        ('/v1/stream/x', '/v1', '', '/v1', '/v1/stream/x'),
        ('/v1/v1/stream/x', '/v1', '', '/v1', '/v1/stream/x'),
        # A client's word leads to no other path.
        ('/a/pre/v1/x', '/pre', '/a', '/a/pre', '/a/pre/v1/x'),
        ('/pre/a/v1/x', '/pre', '/a', '/a/pre', '/a/v1/x'),
        ('/public/slots', '', '/public', '/public', '/public/slots'),
        ('/v1/v1/stream/x', '', '/v1', '/v1', '/v1/v1/stream/x'),
        ('/api/chat', '', '/api', '/api', '/api/chat'),
    ],
)
def test_f95_what_begins_with_the_prefix_has_it_still(
    target: str, root: str, forwarded: str, prefix: str, below: str
) -> None:
    more = {'x_forwarded_prefix': forwarded} if forwarded else {}
    assert cut(target, root, **more) == (prefix, below, below.encode())


# -- addresses of streams -------------------------------------------------------------


def answer(port: int, method: str, target: str) -> bytes:
    head = f'{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    with socket.create_connection(('127.0.0.1', port), 20) as sock:
        sock.sendall(head.encode())
        return sock.makefile('rb').read()


def test_f96_a_delete_stops_what_it_names_or_is_not_found(demo: Service) -> None:
    client = demo.client()
    for number, target in enumerate(
        [
            '//v1/stream/{}',
            '/v1/%73tream/{}',
            '/%76%31/stream/{}',
            '/v1%2Fstream/{}',
            '/./v1/stream/{}',
            '/v1//stream/{}',
            '/V1/stream/{}',
        ]
    ):
        conv_id = f'named-{number}'
        with client.post(conv_id, {'max_tokens': 2000}) as post:
            post.until(1)
            reply = answer(demo.port, 'DELETE', target.format(conv_id))
            if b' 204 ' in reply.partition(b'\r\n')[0]:
                post.rest()
                assert client.get(path(conv_id)).status == 404
            else:
                assert b' 404 ' in reply.partition(b'\r\n')[0], reply
                with client.open('GET', path(conv_id)) as live:
                    assert live.status == 200
                assert client.delete(path(conv_id)).status == 204


@pytest.mark.parametrize(
    ('raw', 'below'),
    [
        (b'/v1/stream/ID', b'ID'),
        (b'/v1/stream/a/b', b'a/b'),
        (b'/v1/stream/a%2Fb', b'a%2Fb'),
        (b'/v1/stream/', b''),
        (b'/v1/stream', b''),
        (b'/v1/%73tream/ID', b'ID'),
        (b'/%76%31/stream', b''),
        (b'/v1/streams/ID', None),
        (b'//v1/stream/ID', None),
        (b'/v1//stream/ID', None),
        (b'/v1%2Fstream/ID', b'ID'),
        (b'/v1', None),
        (b'', None),
    ],
)
def test_f96_the_id_is_what_follows_the_address_and_nothing_else(
    raw: bytes, below: bytes | None
) -> None:
    scope = {'path': unquote(raw.decode()), 'raw_path': raw, 'headers': []}
    request = request_of(scope | {'method': 'GET'}, '/v1/stream')
    assert (None if request is None else request.path) == below
