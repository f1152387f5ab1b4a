"""What becomes of an answer that nobody listens to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.http.proxied import Feed, Proxied
from tests.http.wire import assert_error, numbered, one_per_worker
from tests.support.client import path
from tests.support.leaks import wait_until

CANCEL_S = 8.0
"""It takes little more than a second; the rest is for a busy machine."""

STAY_S = 2.5
"""Within which an answer that nobody holds would have been cancelled."""


def abandoned(proxied: Proxied, conv_id: str, **headers: str) -> Feed:
    """A live stream whose POST's client has left."""
    feed = proxied.feed(first=numbered(32))
    with proxied.post(conv_id, feed, **headers) as post:
        assert post.until(32) == numbered(32)
    return feed


def policy(value: str) -> dict[str, str]:
    return {'Stream-On-Disconnect': value}


@pytest.mark.parametrize('headers', [{}, policy('continue')], ids=['default', 'said'])
def test_by_default_it_goes_on(proxied: Proxied, headers: dict[str, str]) -> None:
    feed = abandoned(proxied, 'on', **headers)
    assert not feed.hung_up(STAY_S)
    feed.send(numbered(32, 2))
    feed.end()
    assert wait_until(lambda: bool(proxied.client.lookup('on')[0]['is_done']))
    assert proxied.client.get(path('on')).body == numbered(64)


def assert_cancelled(proxied: Proxied, conv_id: str) -> None:
    """The stream has ended as cancelled; what there was is still to be read."""
    assert wait_until(lambda: bool(proxied.client.lookup(conv_id)[0]['is_done']))
    (found,) = proxied.client.lookup(conv_id)
    assert found['state'] == 'cancelled'
    reply = proxied.client.get(path(conv_id))
    assert reply.status == 200
    assert reply.headers['stream-state'] == 'cancelled'
    assert reply.body == numbered(32)
    assert reply.headers['content-length'] == '32'


def test_cancel_stops_it_once_nobody_listens(proxied: Proxied) -> None:
    feed = abandoned(proxied, 'cancel', **policy('cancel'))
    assert feed.hung_up(CANCEL_S)
    assert_cancelled(proxied, 'cancel')


def test_cancel_does_not_stop_it_while_its_client_listens(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(32))
    with proxied.post('stay', feed, **policy('cancel')) as post:
        assert not feed.hung_up(STAY_S)
        feed.send(numbered(32, 2))
        feed.end()
        assert post.rest() == numbered(64)
    assert proxied.client.lookup('stay')[0]['state'] == 'complete'


def test_a_follower_in_another_worker_keeps_it(proxied: Proxied) -> None:
    feed = proxied.feed(first=numbered(32))
    with one_per_worker(proxied.service.port) as workers:
        producer, other, _ = workers
        headers = policy('cancel')
        post = producer.post('kept', {'feed': feed.token}, **headers)
        follower = other.open('GET', path('kept'))
        assert post.until(32) == follower.until(32)
        producer.close()
        assert not feed.hung_up(STAY_S)
        feed.send(numbered(32, 2))
        assert follower.until(64) == numbered(64)
        other.close()
        assert feed.hung_up(CANCEL_S)


def test_grace_waits_that_long(proxied: Proxied) -> None:
    feed = abandoned(proxied, 'grace', **policy('grace=3'))
    left = time.monotonic()
    assert feed.hung_up(3 + CANCEL_S)
    # It is looked for listeners four times a second, and our clock starts late: a bit
    # less than 3 s may be seen here. Any more, on a busy machine.
    assert time.monotonic() - left > 2.5
    assert_cancelled(proxied, 'grace')


def test_who_comes_back_within_the_grace_keeps_it(proxied: Proxied) -> None:
    feed = abandoned(proxied, 'back', **policy('grace=2'))
    with proxied.client.open('GET', path('back', 16)) as reader:
        assert not feed.hung_up(2 + STAY_S)
        feed.end()
        assert reader.rest() == numbered(32)[16:]
    assert proxied.client.lookup('back')[0]['state'] == 'complete'


def test_cancel_stops_an_upstream_that_has_not_answered(proxied: Proxied) -> None:
    feed = proxied.feed(pending=True)
    body = json.dumps({'feed': feed.token, 'stream': True}).encode()
    header = {'X-Conversation-Id': 'thinking', **policy('cancel')}
    with pytest.raises(TimeoutError):
        proxied.client.open('POST', '/v1/completions', body, header, timeout_s=0.3)
    assert feed.hung_up(CANCEL_S)


def test_a_reader_that_waits_for_the_first_byte_listens(proxied: Proxied) -> None:
    feed = proxied.feed(pending=True, first=numbered(32))
    body = json.dumps({'feed': feed.token, 'stream': True}).encode()
    header = {'X-Conversation-Id': 'waits', **policy('cancel')}
    with pytest.raises(TimeoutError):
        proxied.client.open('POST', '/v1/completions', body, header, timeout_s=0.3)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(proxied.client.get, path('waits'))
        assert not feed.hung_up(STAY_S)
        feed.begin()
        feed.end()
        assert waiting.result().status == 200
        assert waiting.result().body == numbered(32)


@pytest.mark.parametrize(
    'value',
    ['stop', 'grace', 'grace=', 'grace=-1', 'grace=1e3', 'grace=nan', 'cancel=1', '1'],
)
def test_a_policy_that_is_none_is_refused(proxied: Proxied, value: str) -> None:
    feed = proxied.feed(first=numbered(16))
    with proxied.post('policy', feed, **policy(value)) as post:
        assert_error(post, 400, 'Stream-On-Disconnect')
    assert not feed.asked
    assert proxied.client.lookup('policy') == []


def test_the_setting_is_what_a_post_can_override(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(ON_DISCONNECT='cancel')
    kept = abandoned(proxied, 'override', **policy('continue'))
    feed = abandoned(proxied, 'setting')
    assert feed.hung_up(CANCEL_S)
    assert_cancelled(proxied, 'setting')
    assert not kept.hung_up(STAY_S)
    kept.end()
