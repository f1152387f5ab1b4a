"""DELETE, and the other way to end a stream: another one with its id."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.http.proxied import Feed, Proxied
from tests.http.wire import assert_error, numbered, one_per_worker, posted
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.patience import Stopwatch
from tests.support.service import Service

END_S = 5.0
"""The contract says 1 s; the rest is for a machine that is busy with other tests."""

ID = 'chat::org/model'


@pytest.mark.parametrize('query', [False, True], ids=['path', 'query'])
def test_delete_in_another_worker_ends_all_of_it(proxied: Proxied, query: bool) -> None:
    conv_id = f'{ID}-{query}'
    target = path(conv_id)
    data = numbered(4000)
    feed = proxied.feed(first=data)
    with one_per_worker(proxied.service.port) as workers:
        producer, reader, stopper = workers
        post = producer.post(conv_id, {'feed': feed.token})
        follower = reader.open('GET', target)
        assert post.until(len(data)) == follower.until(len(data)) == data
        form = target.replace('/v1/stream/', '/v1/stream?conv_id=') if query else target
        with Stopwatch() as watch:
            reply = stopper.call('DELETE', form)
            assert (reply.status, reply.body) == (204, b'')
            # Gone for everybody, at once: not only where it was deleted.
            assert_error(proxied.client.get(target), 404, 'Stream not found or expired')
            assert follower.rest() == data
            assert post.rest() == data
            assert feed.hung_up(END_S), 'the upstream connection is still open'
        assert watch.seconds < END_S
    assert proxied.client.lookup(conv_id) == []


def test_delete_again_and_of_nothing_is_fine(demo: Service) -> None:
    client = demo.client()
    posted(client, 'twice')
    for target in (path('twice'), path('twice'), path('never'), path(ID)):
        reply = client.delete(target)
        assert (reply.status, reply.body) == (204, b'')
        assert client.get(target).status == 404


def test_a_finished_stream_is_evicted(demo: Service) -> None:
    client = demo.client()
    with one_per_worker(demo.port) as workers:
        for stopper in workers:
            posted(client, 'finished')
            assert stopper.call('DELETE', path('finished')).status == 204
            for pinned in workers:
                assert pinned.call('GET', path('finished')).status == 404
                assert pinned.call('HEAD', path('finished')).status == 404
            assert client.lookup('finished') == []


def test_an_id_that_was_deleted_can_be_used_again(demo: Service) -> None:
    client = demo.client()
    bodies = set()
    for _ in range(5):
        whole = posted(client, 'again')
        assert client.get(path('again')).body == whole
        assert client.delete(path('again')).status == 204
        assert client.get(path('again')).status == 404
        bodies.add(whole)
    assert len(bodies) == 5


def test_delete_stops_that_stream_only(proxied: Proxied) -> None:
    ids = ['x', 'x::model', 'y', 'X']
    feeds = [proxied.feed(first=numbered(32)) for _ in ids]
    with ExitStack() as stack:
        posts = [
            stack.enter_context(proxied.post(conv_id, feed))
            for conv_id, feed in zip(ids, feeds, strict=True)
        ]
        assert proxied.client.delete(path('x')).status == 204
        assert feeds[0].hung_up(END_S)
        for conv_id, feed, post in zip(ids[1:], feeds[1:], posts[1:], strict=True):
            feed.send(numbered(32, 2))
            feed.end()
            assert post.rest() == numbered(64), conv_id


def test_a_late_delete_does_not_stop_a_newer_stream(proxied: Proxied) -> None:
    client = proxied.client
    with proxied.stream('late', numbered(32)) as post:
        old = post.headers['stream-generation']
        post.rest()
    feed = proxied.feed(first=numbered(32))
    with proxied.post('late', feed) as post:
        new = post.headers['stream-generation']
        assert client.delete(path('late', generation=old)).status == 204
        assert client.get('/v1/stream?conv_id=late&generation=' + old).status == 409
        assert not feed.hung_up(0.5)
        feed.send(numbered(32, 2))
        feed.end()
        assert post.rest() == numbered(64)
    assert client.delete(path('late', generation=new)).status == 204
    assert client.get(path('late')).status == 404


def test_a_second_post_ends_the_first(proxied: Proxied) -> None:
    first, second = proxied.feed(first=b'data: old\n\n'), proxied.feed(first=b'data: ')
    with one_per_worker(proxied.service.port) as workers:
        a, b, c = workers
        old_post = a.post('one', {'feed': first.token})
        old_reader = c.open('GET', path('one'))
        assert old_reader.until(11) == b'data: old\n\n'
        new_post = b.post('one', {'feed': second.token})
        assert first.hung_up(END_S), 'the replaced generation still runs'
        # Not a byte of the new stream, and an end.
        assert old_reader.rest() == b'data: old\n\n'
        assert old_post.rest() == b'data: old\n\n'
        old = old_post.headers['stream-generation']
        new_reader = a.open('GET', path('one'))
        second.send(b'new\n\n')
        second.end()
        assert new_reader.rest() == new_post.rest() == b'data: new\n\n'
        assert new_post.headers['stream-generation'] != old
        for pinned in workers:
            reply = pinned.call('GET', path('one', 3, generation=old))
            assert_error(reply, 409, 'Stream was replaced')
            assert pinned.call('GET', path('one')).body == b'data: new\n\n'


def alive(feeds: list[Feed]) -> list[Feed]:
    """Those that the upstream still works for."""
    return [feed for feed in feeds if feed.asked and not feed.hung_up(0)]


def test_posts_at_the_same_time_leave_one_stream(proxied: Proxied) -> None:
    client = proxied.client
    feeds = [proxied.feed(first=b'data: %d\n\n' % n) for n in range(6)]
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        posts = list(pool.map(lambda feed: proxied.post('race', feed), feeds))
        for post in posts:
            stack.callback(post.close)
        assert {post.status for post in posts} <= {200, 400}
        # Some were replaced before the upstream was asked at all.
        assert wait_until(lambda: len(alive(feeds)) == 1, END_S)
        (left,) = alive(feeds)
        (found,) = client.lookup('race')
        left.end()
        assert wait_until(lambda: bool(client.lookup('race')[0]['is_done']))
        reply = client.get(path('race'))
        assert reply.headers['stream-generation'] == found['generation']
        assert reply.body == b'data: %d\n\n' % feeds.index(left)


def test_delete_while_the_upstream_thinks(proxied: Proxied) -> None:
    feed = proxied.feed(pending=True)
    with one_per_worker(proxied.service.port) as workers, ThreadPoolExecutor() as pool:
        a, b, c = workers
        post = pool.submit(a.post, 'thinking', {'feed': feed.token})
        assert feed.exchange.method == 'POST'
        waiting = pool.submit(b.call, 'GET', path('thinking'))
        assert not wait_until(waiting.done, 0.3)
        with Stopwatch() as watch:
            assert c.call('DELETE', path('thinking')).status == 204
            assert_error(waiting.result(), 404, 'Stream not found or expired')
            assert_error(post.result(), 400, 'request cancelled')
            assert feed.hung_up(END_S)
        assert watch.seconds < END_S
        assert c.call('GET', path('thinking')).status == 404


def test_a_second_post_while_the_upstream_thinks(proxied: Proxied) -> None:
    first, second = proxied.feed(pending=True), proxied.feed(first=numbered(16))
    with ThreadPoolExecutor() as pool:
        post = pool.submit(proxied.post, 'retry', first)
        assert first.exchange.method == 'POST'
        with proxied.post('retry', second) as retried:
            with post.result() as cancelled:
                assert_error(cancelled, 400, 'request cancelled')
            assert first.hung_up(END_S)
            second.end()
            assert retried.rest() == numbered(16)


def test_delete_after_the_client_left(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(16))
    proxied.post('left', feed).close()
    assert not feed.hung_up(0.3)
    assert proxied.client.delete(path('left')).status == 204
    assert feed.hung_up(END_S)


def test_who_waits_for_an_answer_at_the_end_of_the_drain_may_ask_again(
    proxy: Callable[..., Proxied],
) -> None:
    """Nobody cancelled the request: the worker that waits for its answer has to go."""
    proxied = proxy(DRAIN='1')
    feed = proxied.feed(pending=True)
    with ThreadPoolExecutor() as pool:
        post = pool.submit(proxied.post, 'waits', feed)
        assert feed.exchange.method == 'POST'
        proxied.service.signal(signal.SIGHUP)
        with post.result(20) as refused:
            assert refused.headers['retry-after']
            assert_error(refused, 503, 'leaving')
