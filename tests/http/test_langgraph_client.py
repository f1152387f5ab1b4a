"""F93: LangGraph's own clients, cut in the middle, come back for the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langgraph_sdk import get_sync_client

from tests.http.proxied import Proxied
from tests.support.client import path
from tests.support.cutting import Cutting
from tests.support.node import Script, needs_node
from tests.support.upstream import Exchange

EVENTS = 12


def event(number: int) -> bytes:
    data = json.dumps({'n': number})
    return f'id: 17000-{number}\nevent: values\ndata: {data}\n\n'.encode()


def run(port: int, conv_id: str) -> list[Any]:
    """What the client makes of a run: the number of each event."""
    with get_sync_client(url=f'http://127.0.0.1:{port}', api_key=None) as client:
        parts = client.runs.stream(
            None, 'agent', input={}, headers={'X-Conversation-Id': conv_id}
        )
        return [part.data['n'] for part in parts if part.event == 'values']


@pytest.mark.parametrize('cuts', [(), (5,), (5, 3), (1,), (EVENTS,)])
def test_f93_it_gets_each_event_once_however_often_it_is_cut(
    proxied: Proxied, cuts: tuple[int, ...]
) -> None:
    proxied.script = one_run
    with Cutting(proxied.service.port, b'}\n\n', *cuts) as relay:
        numbers = run(relay.port, f'run/{len(cuts)}-{sum(cuts)}')
    came_back(relay, numbers, cuts)


@pytest.mark.parametrize('what', ['is_stopped', 'fails'])
def test_the_end_of_a_run_that_is_not_whole(proxied: Proxied, what: str) -> None:
    feed = proxied.feed(first=b'event: metadata\ndata: {"run_id":"1"}\n\n' + event(0))
    proxied.script = feed
    url, conv_id = f'http://127.0.0.1:{proxied.service.port}', f'run/{what}'
    with get_sync_client(url=url, api_key=None) as client:
        parts = client.runs.stream(
            None, 'agent', input={}, headers={'X-Conversation-Id': conv_id}
        )
        assert next(part.data for part in parts if part.event == 'values') == {'n': 0}
        if what == 'fails':
            feed.break_off()
        else:
            assert proxied.client.delete(path(conv_id)).status == 204
        last = [(part.event, part.data) for part in parts]
    if what == 'is_stopped':
        assert [event for event, _ in last] in ([], ['end'])
    else:
        assert [event for event, _ in last] == ['error']
        assert 'upstream' in last[0][1]['message']


@needs_node
@pytest.mark.parametrize('cuts', [(5, 3)])
def test_f93_and_so_does_the_client_for_node(
    proxied: Proxied, cuts: tuple[int, ...]
) -> None:
    proxied.script = one_run
    with Cutting(proxied.service.port, b'}\n\n', *cuts) as relay:
        url = f'http://127.0.0.1:{relay.port}'
        with Script('langgraph.js', url, 'run/node') as script:
            numbers = script.hear()
    came_back(relay, numbers, cuts)


def one_run(exchange: Exchange) -> None:
    """The upstream's answer to a run."""
    exchange.start_stream()
    for number in range(EVENTS):
        exchange.chunk(event(number))
    exchange.chunk(b'event: end\ndata: null\n\n')
    exchange.end()


def came_back(relay: Cutting, numbers: list[Any], cuts: tuple[int, ...]) -> None:
    """Check that each event came once, and that the client asked once per cut."""
    assert numbers == list(range(EVENTS))
    assert len(relay.requests) == 1 + len(cuts)
    for head in relay.requests[1:]:
        assert head.startswith(b'GET /v1/stream/run%2F')
        assert b'last-event-id: 17000-' in head.lower()


def test_f93_the_address_that_the_upstream_gives_is_kept(proxied: Proxied) -> None:
    def answer(exchange: Exchange) -> None:
        if exchange.method == 'GET':
            number = int((exchange.header('Last-Event-ID') or '').partition('-')[2])
            rest = b''.join(event(n) for n in range(number + 1, EVENTS))
            rest += b'event: end\ndata: null\n\n'
            exchange.reply(200, rest, ('Content-Type', 'text/event-stream'))
            return
        exchange.start(
            200,
            ('Content-Type', 'text/event-stream'),
            ('Transfer-Encoding', 'chunked'),
            ('Location', '/threads/t/runs/r/stream'),
        )
        for number in range(EVENTS):
            exchange.chunk(event(number))
        exchange.end()

    proxied.script = answer
    with Cutting(proxied.service.port, b'}\n\n', 4) as relay:
        assert run(relay.port, 'own') == list(range(EVENTS))
    assert relay.requests[1].startswith(b'GET /threads/t/runs/r/stream ')
    with proxied.client.open(
        'POST', '/runs/stream', b'{}', {'X-Conversation-Id': 'own'}
    ) as live:
        live.rest()
    assert live.headers['location'] == '/threads/t/runs/r/stream'
    assert live.headers['content-location'] == '/v1/stream/own'
