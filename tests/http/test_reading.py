"""GET and HEAD of a stream that is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import as_header, ask, numbered, posted, unchunk
from tests.support.client import Reply, path
from tests.support.leaks import wait_until
from tests.support.service import Service

AWKWARD_IDS = [
    'org/model',
    'chat::org/model:7b::x',
    'literally%2Fencoded',
    'with spaces in it',
    'a+b',
    'naïve 你好 🦊',
    'voilà',
    'Å',
    '/',
    '//a//b/',
    '..',
    '../../etc/passwd',
    'a?b=c&from=3#d',
    '100%',
    '"quoted"\\back',
    '::',
    'x' * 512,
    'é' * 256,
]

REQUIRED = {
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    'x-content-type-options': 'nosniff',
    'content-type': 'text/event-stream',
}


def by_query(conv_id: str, more: str = '') -> str:
    return f'/v1/stream?conv_id={quote(conv_id, safe="")}{more}'


@pytest.mark.parametrize('conv_id', AWKWARD_IDS)
def test_an_id_is_found_in_the_path_and_in_the_query(
    demo: Service, conv_id: str
) -> None:
    client = demo.client()
    whole = posted(client, conv_id)
    for target in (
        path(conv_id),
        by_query(conv_id),
        # Not all clients write a query's parameters in the same order.
        f'/v1/stream?from=0&conv_id={quote(conv_id, safe="")}',
        f'/v1/stream/?conv_id={quote(conv_id, safe="")}',
    ):
        reply = client.get(target)
        assert (reply.status, reply.body) == (200, whole), target


def test_slashes_of_an_id_need_no_encoding(demo: Service) -> None:
    client = demo.client()
    whole = posted(client, 'a/b//c::org/model')
    assert client.get('/v1/stream/a/b//c::org/model').body == whole
    assert client.get('/v1/stream?conv_id=a/b//c::org/model').body == whole


def test_a_plus_is_a_space_in_a_query_and_itself_in_a_path(demo: Service) -> None:
    client = demo.client()
    plus, space = posted(client, 'p+q'), posted(client, 'p q')
    assert client.get('/v1/stream/p+q').body == plus
    assert client.get('/v1/stream?conv_id=p+q').body == space


def test_ids_that_differ_in_encoding_only_are_different_streams(demo: Service) -> None:
    client = demo.client()
    ids = ['s/t', 's%2Ft', 's%2ft', 'S/t', 's/t ', 's/t/']
    bodies = [posted(client, conv_id) for conv_id in ids[:4]]
    assert len(set(bodies)) == 4
    assert [client.get(path(conv_id)).body for conv_id in ids[:4]] == bodies
    assert client.get(path('s/t ')).status == 404
    assert client.get(path('s/t/')).status == 404


@pytest.mark.parametrize('offset', [0, 1, 17, 100, -1])
def test_a_finished_stream_has_its_length(demo: Service, offset: int) -> None:
    client = demo.client()
    whole = posted(client, 'finished')
    offset %= len(whole)
    for target in (path('finished', offset), by_query('finished', f'&from={offset}')):
        raw = ask(demo.port, f'GET {target}')
        assert raw.all('content-length') == [str(len(whole) - offset)]
        assert raw.all('transfer-encoding') == []
        assert raw.all('stream-offset') == [str(offset)]
        assert raw.body == whole[offset:]


def test_a_long_finished_stream_has_its_length_too(demo: Service) -> None:
    client = demo.client()
    whole = posted(client, 'long', max_tokens=2000, tokens_per_second=100_000)
    assert len(whole) > 300_000
    reply = client.get(path('long', 1000))
    assert reply.headers['content-length'] == str(len(whole) - 1000)
    assert reply.whole
    assert reply.body == whole[1000:]


@pytest.mark.parametrize('beyond', [0, 1, 10**6, 2**63 - 1])
def test_beyond_the_end_of_a_finished_stream_there_is_nothing(
    demo: Service, beyond: int
) -> None:
    client = demo.client()
    offset = min(len(posted(client, 'short')) + beyond, 2**63 - 1)
    reply = client.get(path('short', offset))
    assert (reply.status, reply.body) == (200, b'')
    assert reply.headers['content-length'] == '0'
    assert reply.headers['stream-offset'] == str(offset)


def test_beyond_the_end_of_a_live_stream_bytes_are_awaited(proxied: Proxied) -> None:
    data = numbered(300)
    feed = proxied.feed(first=data[:50])
    with proxied.post('later', feed), ThreadPoolExecutor() as pool:
        reader = pool.submit(proxied.client.get, path('later', 100))
        feed.send(data[50:120])
        assert not wait_until(reader.done, 0.5)
        feed.send(data[120:])
        feed.end()
        assert reader.result().status == 200
        assert reader.result().headers['stream-offset'] == '100'
        assert reader.result().body == data[100:]
        assert reader.result().whole


def test_beyond_an_end_that_never_comes_so_far_there_is_nothing(
    proxied: Proxied,
) -> None:
    feed = proxied.feed(first=numbered(64))
    with proxied.post('never', feed), ThreadPoolExecutor() as pool:
        reader = pool.submit(proxied.client.get, path('never', 2**63 - 1))
        assert not wait_until(reader.done, 0.5)
        feed.end()
        assert reader.result().status == 200
        assert reader.result().body == b''
        assert reader.result().whole


def test_headers_of_a_live_stream_do_not_wait_for_its_bytes(proxied: Proxied) -> None:
    # At the live edge, or beyond the end, the next byte may be long in coming: the
    # client has to know meanwhile that its stream is there.
    feed = proxied.feed(first=numbered(64))
    with (
        proxied.post('edge', feed),
        proxied.client.open('GET', path('edge', 64), timeout_s=5) as reader,
    ):
        assert reader.status == 200
        assert reader.headers['stream-offset'] == '64'
        feed.send(numbered(16, 4))
        feed.end()
        assert reader.rest() == numbered(16, 4)


def test_a_live_stream_is_chunked_and_closed_at_its_end(proxied: Proxied) -> None:
    data = numbered(1000)
    feed = proxied.feed(first=data[:496])
    with proxied.post('live', feed) as post:
        with proxied.client.open('GET', path('live', 3)) as reader:
            assert reader.headers['transfer-encoding'] == 'chunked'
            assert 'content-length' not in reader.headers
            assert reader.headers['stream-state'] == 'live'
            assert reader.until(493) == data[3:496]
            feed.send(data[496:])
            feed.end()
            assert reader.rest() == data[3:]
            assert reader.whole
        assert post.rest() == data
        assert post.whole


def test_nothing_is_added_to_a_quiet_stream(proxied: Proxied) -> None:
    feed = proxied.feed(first=b': keep-alive of the upstream\n\n')
    with (
        proxied.post('quiet', feed),
        proxied.client.open('GET', path('quiet')) as reader,
    ):
        reader.until(30)
        # A second of silence: followers look several times meanwhile.
        assert not feed.hung_up(1)
        feed.send(b'data: 1\n\n')
        feed.end()
        assert reader.rest() == b': keep-alive of the upstream\n\ndata: 1\n\n'


def test_type_and_bytes_are_the_producers(proxied: Proxied) -> None:
    data = bytes(range(256)) * 4
    kind = 'application/x-ndjson; charset=utf-8'
    with proxied.stream('binary', data, content_type=kind) as post:
        assert post.headers['content-type'] == kind
        assert post.rest() == data
    reply = proxied.client.get(path('binary', 200))
    assert reply.headers['content-type'] == kind
    assert reply.body == data[200:]


def test_reads_carry_the_headers_of_the_contract(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(64))
    with proxied.post('headers', feed) as post:
        live = proxied.client.call('HEAD', path('headers', 5))
        feed.end()
        post.rest()
    finished = proxied.client.get(path('headers', 7))
    for reply, state in ((live, 'live'), (finished, 'complete')):
        assert REQUIRED.items() <= reply.headers.items()
        assert reply.headers['stream-state'] == state
        assert reply.headers['stream-generation'] == post.headers['stream-generation']
    assert (live.headers['stream-offset'], finished.headers['stream-offset']) == (
        '5',
        '7',
    )


def test_a_generation_that_matches_is_read(demo: Service) -> None:
    client = demo.client()
    whole = posted(client, 'same')
    generation = client.call('HEAD', path('same')).headers['stream-generation']
    reply = client.get(path('same', 4, generation=generation))
    assert reply.body == whole[4:]
    assert reply.headers['stream-generation'] == generation


def test_a_stream_that_its_upstream_broke_off_says_so(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(32))
    with proxied.post('broken', feed) as post:
        feed.break_off()
        post.rest()
    reply = proxied.client.get(path('broken'))
    assert reply.headers['stream-state'] == 'aborted'
    assert reply.body == bytes(post.body)


def test_the_wire_carries_the_bytes_and_nothing_else(proxied: Proxied) -> None:
    data = numbered(50_000)
    feed = proxied.feed(first=data)
    with proxied.post('wire', feed):
        assert wait_until(lambda: total(proxied, 'wire') == len(data))
        feed.end()
        raw = ask(proxied.service.port, f'GET {path("wire", 11)}')
    body = raw.body if raw.all('content-length') else unchunk(raw.body)[0]
    assert body == data[11:]


def total(proxied: Proxied, conv_id: str) -> int:
    reply: Reply = proxied.client.call('HEAD', path(conv_id))
    return int(reply.headers['stream-total-bytes'])


def test_ids_in_headers_are_utf_8(demo: Service) -> None:
    client = demo.client()
    whole = posted(client, 'über')
    assert as_header('über') != 'über'
    assert client.get('/v1/stream/%C3%BCber').body == whole
