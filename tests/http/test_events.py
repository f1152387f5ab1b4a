"""The events route of the service, over real sockets, with the demo model."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from urllib.parse import quote

import pytest

from shmstream import Streams
from tests.http.wire import one_per_worker, posted
from tests.support.event_source import (
    Dispatched,
    Source,
    address,
    comes_back,
    events_of,
)
from tests.support.leaks import wait_until
from tests.support.service import Service

SLOW = {'DEMO_RATE': '40'}


def texts(events: list[Dispatched]) -> list[str]:
    return [event.data for event in events if event.name == 'message']


def test_every_worker_gives_the_same_events_in_one_piece(demo: Service) -> None:
    whole = posted(demo.client(), 'same', max_tokens=30, tokens_per_second=10_000)
    with one_per_worker(demo.port) as workers:
        replies = [pinned.call('GET', address('same')) for pinned in workers]
    for reply in replies:
        assert reply.whole
        assert reply.headers['content-type'] == 'text/event-stream'
        *events, end = events_of(reply.body)
        assert texts(events) == texts(events_of(whole))
        assert end.name == 'end'
        assert json.loads(end.data) == {'state': 'complete', 'total_bytes': len(whole)}
    assert len({reply.body for reply in replies}) == 1
    last = events_of(replies[0].body)[-1].id
    headers = {'Last-Event-ID': last}
    assert demo.client().call('GET', address('same'), None, headers).status == 204
    head = demo.client().call('HEAD', address('same'))
    assert (head.status, head.body) == (200, b'')


def test_whoever_hangs_up_goes_on_where_it_was(demo: Service) -> None:
    client = demo.client()
    with client.post('cut', {'max_tokens': 60, 'tokens_per_second': 400}) as post:
        source = Source(client, 'cut')
        source.run(cut_after=7)
        whole = post.rest()
    assert texts(source.events) == texts(events_of(whole))
    assert source.statuses == [200, 200, 204]


def test_what_is_unknown_is_final(demo: Service) -> None:
    client = demo.client()
    assert client.get(address('nobody')).status == 404
    assert client.get('/v1/events').status == 400
    assert client.get(address('nobody', 'x')).status in (400, 404)


def test_a_stopped_stream_ends_with_its_state(demo: Service) -> None:
    client = demo.client()
    with (
        client.post('stop', {'max_tokens': 100_000}) as post,
        client.open('GET', address('stop')) as live,
    ):
        live.until(200)
        assert client.delete('/v1/stream/stop').status == 204
        *_, end = events_of(live.rest())
        post.rest()
    assert json.loads(end.data)['state'] == 'cancelled'


def test_a_reload_cuts_and_the_next_worker_goes_on(
    serve: Callable[..., Service],
) -> None:
    """The response has no closing chunk, so that the browser comes back."""
    service = serve(workers=2, settings=SLOW)
    client = service.client()
    with client.post('reload', {'max_tokens': 120}) as post:
        with client.open('GET', address('reload')) as live:
            live.until(300)
            service.signal(signal.SIGHUP)
            first = events_of(live.rest())
            assert live.whole is False
        source = Source(client, 'reload')
        source.events, source.last_id = list(first), first[-1].id
        source.run()
        whole = post.rest()
        assert post.whole
    assert texts(source.events) == texts(events_of(whole))
    assert source.statuses[-1] == 204


@pytest.mark.parametrize('how', ['path', 'query'])
def test_ids_with_a_slash_are_found(demo: Service, how: str) -> None:
    conv_id = f'a/{how}?'
    posted(demo.client(), conv_id, max_tokens=3, tokens_per_second=10_000)
    encoded = quote(conv_id, safe='')
    target = address(conv_id) if how == 'path' else f'/v1/events?conv_id={encoded}'
    assert events_of(demo.client().get(target).body)[-1].name == 'end'


def test_what_has_not_begun_is_worth_coming_back_for(demo: Service) -> None:
    """Readers of bytes get 503 then, which would be final."""
    with (
        Streams.attach(demo.directory) as streams,
        streams.create('pending', pending=True),
    ):
        assert comes_back(demo.client().open('GET', address('pending')))


def test_readers_of_events_count_and_leave(demo: Service) -> None:
    with (
        Streams.attach(demo.directory) as streams,
        streams.create('counts') as producer,
    ):
        for _ in range(3):
            with demo.client().open('GET', address('counts')) as live:
                # The head and the first line come before any event.
                assert live.until(1).startswith(b'retry')
                assert wait_until(lambda: producer.followers == 1)
            assert wait_until(lambda: not producer.followers)
