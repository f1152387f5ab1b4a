"""HEAD, and answers that follow each other on a connection."""

from __future__ import annotations

import http.client

from tests.http.proxied import Proxied
from tests.http.wire import numbered, posted
from tests.support.client import path
from tests.support.service import Service


def test_head_is_get_without_a_body_and_with_the_counts(demo: Service) -> None:
    client = demo.client()
    whole = posted(client, 'head')
    for target in (path('head', 9), '/v1/stream?conv_id=head&from=9'):
        head, get = client.call('HEAD', target), client.get(target)
        assert head.body == b''
        more = set(head.headers) - set(get.headers)
        assert more == {'stream-total-bytes', 'stream-dropped-prefix'}
        assert head.headers['stream-total-bytes'] == str(len(whole))
        assert head.headers['stream-dropped-prefix'] == '0'
        for name in set(get.headers) - {'date', 'stream-worker'}:
            assert head.headers[name] == get.headers[name], name


def test_head_of_a_live_stream_does_not_wait_for_its_end(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(80))
    with proxied.post('live head', feed):
        reply = proxied.client.call('HEAD', path('live head'))
        assert reply.status == 200
        assert reply.headers['stream-state'] == 'live'
        assert reply.headers['stream-total-bytes'] == '80'
        assert 'content-length' not in reply.headers
        assert not feed.over.is_set()


def test_connections_serve_one_answer_after_another(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(32))
    connection = http.client.HTTPConnection('127.0.0.1', proxied.service.port, 20)

    def call(method: str, target: str) -> tuple[int, bytes]:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.read()

    with proxied.post('again', feed) as post:
        # Where the length of an answer is unclear, the next one is garbled.
        assert call('HEAD', path('again')) == (200, b'')
        assert call('GET', path('unknown'))[0] == 404
        assert call('HEAD', path('unknown')) == (404, b'')
        feed.end()
        post.rest()
        assert call('GET', path('again')) == (200, numbered(32))
        assert call('HEAD', path('again')) == (200, b'')
        assert call('DELETE', path('again')) == (204, b'')
        assert call('GET', path('again', 16))[0] == 404
    connection.close()
