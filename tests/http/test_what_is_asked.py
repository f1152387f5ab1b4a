"""What the upstream is asked for, and what it is never asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.http.conftest import Watch
from tests.http.proxied import Proxied
from tests.http.raw import Behind, behind
from tests.http.wire import ask, connect, numbered
from tests.support import frames
from tests.support.client import path
from tests.support.raw_upstream import Link
from tests.support.upstream import Exchange

EVENTS = ('Content-Type', 'text/event-stream')
ACCEPTS = [None, 'gzip, br', '*']


@pytest.mark.parametrize('accepts', ACCEPTS)
@pytest.mark.parametrize('announced', [True, False], ids=['announced', 'unsaid'])
def test_what_may_become_a_session_is_asked_for_without_a_coding(
    proxied: Proxied, announced: bool, accepts: str | None
) -> None:
    seen: list[Exchange] = []

    def script(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.reply(200, numbered(16), EVENTS)

    proxied.script = script
    more = {} if accepts is None else {'Accept-Encoding': accepts}
    with proxied.client.post('plain', {'stream': announced}, **more) as post:
        assert post.rest() == numbered(16)
    (exchange,) = seen
    codings = [v for n, v in exchange.headers if n.lower() == 'accept-encoding']
    assert codings == ['identity']


def test_that_there_is_no_coding_is_said_by_neither_response(proxied: Proxied) -> None:
    none = ('Content-Encoding', 'none')
    proxied.script = lambda exchange: exchange.reply(200, numbered(16), EVENTS, none)
    with proxied.client.post('none', {}) as post:
        assert post.rest() == numbered(16)
        assert 'content-encoding' not in post.headers
    assert 'content-encoding' not in proxied.client.get(path('none')).headers


REFUSED = ['/a#b', '/../team-b/x', '/%2e%2e/team-b', '/v1/../..']


def requests_for(both: Behind, target: str) -> list[int]:
    """The statuses of all kinds of requests for a target."""
    body = b'{"stream": true}'
    length = ('Content-Length', str(len(body)))
    conv_id = ('X-Conversation-Id', 'climbs')
    port = both.service.port
    return [
        ask(port, f'GET {target}').status,
        ask(port, f'POST {target}', length, body=body).status,
        ask(port, f'POST {target}', length, conv_id, body=body).status,
    ]


def test_nothing_beside_the_base_path_is_asked_for(
    tmp_path: Path, watch: Watch
) -> None:
    asked: list[Link] = []
    with behind(
        tmp_path / 'log',
        address=lambda upstream: upstream.url + '/team-a',
        settings={'UPSTREAM_API_KEY': 'SECRET'},
    ) as both:
        watch(both.service)
        both.does(asked.append)
        for target in REFUSED:
            assert requests_for(both, target) == [400] * 3
            with connect(both.service.port) as sock:
                answer = frames.handshake(Link(sock, 0), target.encode())
            # gunicorn lets an application say no more than that.
            assert answer.startswith(b'HTTP/1.1 403')
        assert both.client.lookup('climbs') == []
    assert asked == []
