"""What the routes of ``useChat`` do, under whatever framework."""

from __future__ import annotations

import json

from tests.support.client import Client, Live


def resumes_and_stops(client: Client, address: str, post: Live, first: int) -> None:
    """See that a stream is resumed and stopped as a chat; it is over then.

    Args:
        client: a client of the server.
        address: of the stream.
        post: the response that began the stream.
        first: bytes of the stream before its source waits.
    """
    stream, stop = f'{address}/stream', f'{address}/stop'

    def stops(body: str) -> int:
        reply = client.call('POST', stop, body.encode())
        assert reply.status == 400 or reply.json() == {'success': True}
        return reply.status

    with client.open('GET', f'{stream}?from=3') as live:
        assert live.status == 200
        assert live.headers['stream-offset'] == '0'
        live.until(first)
        generation = live.headers['stream-generation']
        assert client.call('HEAD', stream).status == 200
        assert stops('{') == 400
        assert stops(json.dumps({'activeStreamId': '0' * 16})) == 200
        assert stops(json.dumps({'activeStreamId': generation})) == 200
        assert live.rest() == post.rest()
        assert live.whole
    for method in ('GET', 'HEAD'):
        assert client.call(method, stream).status == 204
    again = client.get(f'{stream}?finished=replay')
    assert (again.status, again.body) == (200, post.rest())
    # It is kept, unlike after a DELETE.
    assert client.get(address).headers['stream-state'] == 'cancelled'
    assert stops('') == 200
    assert client.get(f'{address}-never/stream').status == 204
