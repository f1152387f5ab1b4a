"""Clients that send the same POST for the rest: TanStack AI's, fetch-event-source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shmstream import Streams
from shmstream.http.producing import settled_rest
from shmstream.serving.get_head_delete import Core
from shmstream.serving.request import Request
from tests.http.conftest import Watch
from tests.http.proxied import Proxied, proxied_service
from tests.http.wire import assert_error
from tests.support.client import Live, path
from tests.support.cutting import Cutting
from tests.support.node import Script, needs_node
from tests.support.upstream import Exchange

WORDS = 12
BY_RUN = 'header:X-Run-Id,query:runId'


@pytest.fixture(scope='module')
def proxied_module(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Proxied]:
    """A service that takes the id of a run for that of a conversation."""
    log = tmp_path_factory.mktemp('tanstack') / 'service.log'
    with proxied_service(log, ID_FROM=BY_RUN) as proxied:
        watch_module(proxied.service)
        yield proxied


def event(number: int, kind: str, **fields: Any) -> bytes:
    data = json.dumps({'type': kind, 'threadId': 't', 'runId': 'r', **fields})
    return f'id: run/{number}\ndata: {data}\n\n'.encode()


def run() -> list[bytes]:
    """A run of an AG-UI server that numbers its events."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ('RUN_STARTED', {}),
        ('TEXT_MESSAGE_START', {'messageId': 'm', 'role': 'assistant'}),
        *(
            ('TEXT_MESSAGE_CONTENT', {'messageId': 'm', 'delta': f'{word} '})
            for word in range(WORDS)
        ),
        ('TEXT_MESSAGE_END', {'messageId': 'm'}),
        ('RUN_FINISHED', {}),
    ]
    return [event(number, kind, **more) for number, (kind, more) in enumerate(kinds)]


TEXT = ''.join(f'{word} ' for word in range(WORDS))


def answering(asked: list[bytes]) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        asked.append(exchange.body)
        exchange.start_stream()
        for each in run():
            exchange.chunk(each)
        exchange.end()

    return answer


@needs_node
@pytest.mark.parametrize('cuts', [(), (5,), (7, 2, 3)])
def test_each_word_comes_once_and_is_generated_once(
    proxied: Proxied, cuts: tuple[int, ...]
) -> None:
    asked: list[bytes] = []
    proxied.script = answering(asked)
    with Cutting(proxied.service.port, b'}\n\n', *cuts) as relay:
        url = f'http://127.0.0.1:{relay.port}/api/chat'
        with Script('tanstack.js', url) as script:
            told = script.hear()
    assert (told['text'], told['errors']) == (TEXT, [])
    assert told['joined'] == TEXT
    assert len(asked) == 1
    at = [None, *(f'run/{sum(cuts[: n + 1]) - 1}' for n in range(len(cuts)))]
    assert told['requests'] == [*(['POST', last] for last in at), ['GET', None]]


@needs_node
@pytest.mark.parametrize('what', ['is_stopped', 'fails'])
def test_the_end_of_a_run_that_is_not_whole(proxied: Proxied, what: str) -> None:
    feed = proxied.feed(first=b''.join(run()[:5]))
    proxied.script = feed
    url = f'http://127.0.0.1:{proxied.service.port}/api/chat'
    with Script('tanstack.js', url, 'told') as script:
        run_id = script.hear()['run']
        if what == 'fails':
            feed.break_off()
        else:
            assert proxied.client.delete(path(run_id)).status == 204
        told = script.hear()
    assert told['text'] == '0 1 2 '
    if what == 'is_stopped':
        assert (told['errors'], told['requests']) == ([], [['POST', None]])
    else:
        assert len(told['errors']) == 1


@needs_node
def test_and_so_it_is_with_fetch_event_source(proxied: Proxied) -> None:
    asked: list[bytes] = []
    proxied.script = answering(asked)
    with Cutting(proxied.service.port, b'}\n\n', 6, 4) as relay:
        url = f'http://127.0.0.1:{relay.port}/api/chat'
        with Script('posted_again.js', url, 'run') as script:
            told = script.hear()
    assert told == [e.partition(b'data: ')[2].decode().strip() for e in run()]
    assert len(relay.requests) == 3
    assert len(asked) == 1


def post(proxied: Proxied, conv_id: str, last: str, **asked: Any) -> Live:
    body = json.dumps({'messages': [], **asked}).encode()
    headers = {'X-Run-Id': conv_id, 'Last-Event-ID': last}
    headers['Content-Type'] = 'application/json'
    return proxied.client.open('POST', '/api/chat', body, headers)


@pytest.mark.parametrize('stream', [True, None], ids=['announced', 'unsaid'])
def test_a_post_with_the_last_event_gets_the_rest(
    proxied: Proxied, stream: bool | None
) -> None:
    """And it generates only if there is nothing of which this could be the rest."""
    asked: list[bytes] = []
    proxied.script = answering(asked)
    whole, conv_id = b''.join(run()), f'rest-{stream}'
    more = {} if stream is None else {'stream': stream}
    with post(proxied, conv_id, 'run/3', **more) as live:
        assert live.rest() == whole
        assert live.headers['content-location'] == path(conv_id)
    assert len(asked) == 1
    for number in (0, 6, WORDS + 3):
        with post(proxied, conv_id, f'run/{number}', **more) as live:
            assert live.rest() == b''.join(run()[number + 1 :])
            assert live.whole
    with post(proxied, conv_id, 'none of them', **more) as live:
        lost = assert_error(live, 400, 'offset lost')
        assert (lost['dropped_prefix'], lost['total_bytes']) == (0, len(whole))
    assert len(asked) == 1
    assert proxied.client.delete(path(conv_id)).status == 204
    with post(proxied, conv_id, 'run/3', **more) as live:
        assert live.rest() == whole
    assert len(asked) == 2
    # An empty header names no event.
    with post(proxied, conv_id, '', **more) as live:
        assert live.rest() == whole
    assert len(asked) == 3


def test_an_id_of_the_events_route_gets_the_events_after_it(proxied: Proxied) -> None:
    proxied.script = answering([])
    with post(proxied, 'ours', 'x') as live:
        whole = live.rest()
    events = proxied.client.get('/v1/events/ours').body.split(b'\n\n')
    first = events[0].partition(b'id: ')[2]
    with post(proxied, 'ours', first.decode()) as live:
        assert live.rest() == b'retry: 1000\n' + b'\n\n'.join(events[1:])
    generation = first.partition(b'-')[0]
    with post(proxied, 'ours', f'{len(generation) * "0"}-16') as live:
        assert_error(live, 400, 'offset lost')
    assert proxied.client.get(path('ours')).body == whole


def test_it_follows_what_is_live_from_a_body_that_names_the_id(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(workers=2, ID_FROM='body:runId')
    events = run()
    feed = proxied.feed(first=b''.join(events[:4]))
    body = {'runId': 'live', 'feed': feed.token, 'stream': True}
    with proxied.client.post(None, body) as live:
        live.until(len(events[0]))
        again = {'Last-Event-ID': 'run/1'}
        with proxied.client.post(None, body, **again) as rest:
            rest.until(len(events[2]))
            feed.send(b''.join(events[4:]))
            feed.end()
            assert rest.rest() == b''.join(events[2:])
        assert live.rest() == b''.join(events)
    assert len(proxied.upstream.exchanges) == 1


def test_only_a_get_that_joins_a_stream_that_is_there_is_answered_here(
    proxied: Proxied,
) -> None:
    proxied.script = answering([])
    with post(proxied, 'joined', 'x') as live:
        whole = live.rest()
    proxied.script = lambda exchange: exchange.reply(200, exchange.target.encode())
    for target, mine in (
        ('/api/chat?offset=-1&runId=joined', True),
        ('/api/chat?runId=joined&offset=-1', True),
        ('/api/chat?offset=-1&runId=unknown', False),
        ('/api/chat?offset=-1', False),
        ('/api/chat?offset=-1&runId=%0A', False),
        ('/api/chat?offset=-1&runId=%FF', False),
        ('/api/chat?offset=-1&runId=joined&runId=x', False),
        ('/api/chat?offset=0&runId=joined', False),
        ('/api/chat?runId=joined', False),
    ):
        reply = proxied.client.get(target)
        assert reply.body == (whole if mine else target.encode())
    reply = proxied.client.get(
        '/api/chat?offset=-1&runId=joined', **{'Last-Event-ID': 'run/4'}
    )
    assert reply.body == b''.join(run()[5:])


@pytest.mark.parametrize('stop', [Streams.withdraw, Streams.cancel, Streams.evict])
def test_what_never_begins_has_no_rest(
    streams: Streams, stop: Callable[[Streams, str], bool]
) -> None:
    """The upstream's answer to the first POST was no stream."""
    asked = Request('POST', b'x', b'', [(b'last-event-id', b'run/3')])

    async def ask() -> None:
        rest = asyncio.create_task(
            settled_rest(streams, Core(streams), asked, 'pending')
        )
        # The task has found the stream then, and waits for it to begin.
        await asyncio.sleep(0)
        await asyncio.to_thread(stop, streams, 'pending')
        assert await rest is None

    with streams.create('pending', pending=True):
        asyncio.run(ask())
