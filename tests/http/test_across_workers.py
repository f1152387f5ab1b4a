"""One worker produces, the others read: every byte, from any offset, at any time."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import Pinned, numbered, one_per_worker, posted
from tests.support.client import Client, Reply, path
from tests.support.leaks import wait_until
from tests.support.service import Service

READERS = 40
SEEDS = [1, 2, 3]


def test_every_worker_says_who_it_is(demo: Service) -> None:
    posted(demo.client(), 'who')
    with one_per_worker(demo.port) as workers:
        assert {pinned.worker for pinned in workers} == set(demo.worker_pids())
        for pinned in workers:
            reply = pinned.call('GET', path('who'))
            assert reply.headers['stream-worker'] == str(pinned.worker)


def test_a_finished_stream_is_replayed_by_every_worker(demo: Service) -> None:
    whole = posted(demo.client(), 'replay', max_tokens=50, tokens_per_second=10_000)
    offsets = [*range(0, len(whole), 997), len(whole) - 1, len(whole)]
    with one_per_worker(demo.port) as workers:
        for pinned in workers:
            for offset in offsets:
                reply = pinned.call('GET', path('replay', offset))
                assert reply.body == whole[offset:]
                assert reply.whole


def test_a_live_stream_is_followed_by_every_worker(demo: Service) -> None:
    with one_per_worker(demo.port) as workers:
        producer, *others = workers
        post = producer.post('live', {'max_tokens': 200})
        assert post.worker == producer.worker
        post.until(2000)
        live = [other.open('GET', path('live', 1000)) for other in others]
        assert {reader.worker for reader in live} == {o.worker for o in others}
        for reader in live:
            reader.until(1)
            assert reader.whole is None, 'the stream is over already'
        with ThreadPoolExecutor() as pool:
            bodies = list(pool.map(lambda reader: reader.rest(), live))
        whole = post.rest()
        assert whole.endswith(b'data: [DONE]\n\n')
        assert bodies == [whole[1000:]] * 2
        assert all(reader.whole for reader in live)


@pytest.mark.parametrize('seed', SEEDS)
def test_forty_readers_at_random_offsets_miss_nothing(demo: Service, seed: int) -> None:
    chance = random.Random(seed)
    client = demo.client()
    conv_id = f'forty-{seed}'
    asked = {'max_tokens': 300}
    with client.post(conv_id, asked) as post, ThreadPoolExecutor(READERS) as pool:
        # Some 65 kB in all: readers begin behind, at and far beyond the live edge.
        offsets = [chance.randrange(70_000) for _ in range(READERS)]
        readers = [pool.submit(client.get, path(conv_id, o)) for o in offsets]
        whole = post.rest()
        assert post.whole
        replies = [reader.result() for reader in readers]
    for offset, reply in zip(offsets, replies, strict=True):
        assert reply.status == 200
        assert reply.body == whole[offset:], f'from {offset}'
        assert reply.whole
    assert {reply.headers['stream-worker'] for reply in replies} <= set(
        map(str, demo.worker_pids())
    )
    assert len({reply.headers['stream-worker'] for reply in replies}) > 1


def test_readers_that_resume_in_pieces_have_the_whole(demo: Service) -> None:
    client = demo.client()
    got = bytearray()
    with client.post('pieces', {'max_tokens': 200}) as post:
        generation = post.headers['stream-generation']
        while True:
            target = path('pieces', len(got), generation=generation)
            with client.open('GET', target) as reader:
                before = len(got)
                for chunk in reader.chunks():
                    got += chunk
                    if len(got) - before > 4000:
                        break  # the network is lost
                if reader.whole:
                    break
        assert bytes(got) == post.rest()


def test_readers_in_all_workers_wait_for_the_first_byte(proxied: Proxied) -> None:
    data = numbered(5000)
    feed = proxied.feed(pending=True, first=data[:2000])
    client = proxied.client
    with one_per_worker(proxied.service.port) as workers, ThreadPoolExecutor() as pool:
        producer, *others = workers
        post = pool.submit(producer.post, 'wait', {'feed': feed.token})
        assert feed.exchange.method == 'POST'
        early = [pool.submit(o.open, 'GET', path('wait', 160)) for o in others]
        assert not wait_until(lambda: any(e.done() for e in early), 0.5)
        assert client.lookup('wait')[0]['state'] == 'pending'
        feed.begin()
        readers = [e.result() for e in early]
        feed.send(data[2000:])
        feed.end()
        assert [r.worker for r in readers] == [o.worker for o in others]
        assert [r.rest() for r in readers] == [data[160:]] * 2
        assert all(r.whole for r in readers)
        assert post.result().rest() == data


def test_a_generation_runs_to_its_end_when_its_client_has_left(
    demo: Service,
) -> None:
    client = demo.client()
    with client.post('alone', {'max_tokens': 150}) as post:
        generation = post.headers['stream-generation']
    assert client.lookup('alone')[0]['is_done'] is False
    whole = finished(client, 'alone')
    assert whole.headers['stream-generation'] == generation
    assert whole.body.count(b'data: ') == 150 + 3  # role, words, stop, [DONE]
    assert whole.body.endswith(b'data: [DONE]\n\n')
    with one_per_worker(demo.port) as workers:
        for pinned in workers:
            assert pinned.call('GET', path('alone')).body == whole.body


def test_a_client_that_never_reads_changes_nothing(demo: Service) -> None:
    client = demo.client()
    with client.post('deaf', {'max_tokens': 3000, 'tokens_per_second': 100_000}):
        whole = finished(client, 'deaf')
    assert whole.body.count(b'data: ') == 3000 + 3


def test_a_stream_goes_on_though_its_reader_left(demo: Service) -> None:
    with one_per_worker(demo.port) as workers:
        producer, first, second = workers
        post = producer.post('left', {'max_tokens': 100})
        reader = first.open('GET', path('left'))
        reader.until(500)
        first.close()
        whole = second.call('GET', path('left', 100))
        assert whole.body == post.rest()[100:]


def finished(client: Client, conv_id: str) -> Reply:
    """The whole of a stream, once it is over."""
    assert wait_until(lambda: bool(client.lookup(conv_id)[0]['is_done']), 20)
    reply = client.get(path(conv_id))
    assert reply.headers['stream-state'] == 'complete'
    assert reply.headers['content-length'] == str(len(reply.body))
    return reply


def test_streams_of_many_workers_do_not_mix(demo: Service) -> None:
    with one_per_worker(demo.port) as workers, ThreadPoolExecutor() as pool:

        def run(pinned: Pinned) -> tuple[bytes, bytes]:
            conv_id = f'mix-{pinned.worker}'
            post = pinned.post(conv_id, {'max_tokens': 100})
            with demo.client().open('GET', path(conv_id)) as reader:
                return post.rest(), reader.rest()

        pairs = list(pool.map(run, workers))
    for produced, read in pairs:
        assert produced == read
    # Each answer has an id of its own in every event.
    assert len({produced for produced, _ in pairs}) == 3
