"""Answers of Flask and Falcon applications, by two workers of a real gunicorn."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shmstream import Streams, owner_of
from shmstream import client as shm_client
from tests.answers.deployments import BLOCKED, KINDS, Start, starter
from tests.answers.watched import nothing_in
from tests.producing.steered import FIRST, WHOLE
from tests.support.chat_routes import resumes_and_stops
from tests.support.client import TIMEOUT_S
from tests.support.cutting import Cutting
from tests.support.event_source import resumes, waits
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.overtaken import cut_by_the_ring
from tests.support.service import Service
from tests.support.supervisor import gone


@pytest.fixture(params=matrix(KINDS, 'flask-gthread', 'falcon-asgi'))
def start(
    request: pytest.FixtureRequest, serve: Callable[..., Service], tmp_path: Path
) -> Iterator[Start]:
    """Start two workers of each kind; nothing may block an event loop of theirs."""
    yield starter(request.param, serve, tmp_path)
    if request.param == 'falcon-asgi':
        nothing_in(tmp_path / BLOCKED)


def test_an_answer_is_streamed_resumed_and_read_by_a_second_tab(start: Start) -> None:
    there = start()
    with there.begin('a') as live:
        assert live.status == 200
        assert live.headers['content-type'] == 'text/event-stream'
        assert live.headers['content-location'] == '/chats/a'
        with there.elsewhere('a', live.worker) as tab:
            assert tab.until(len(FIRST)) == FIRST
            there.gate('a').open()
            assert tab.rest() == live.rest() == WHOLE
            assert tab.whole
            assert live.whole
    for offset in (0, 1, len(FIRST), len(WHOLE)):
        reply = there.client.get(f'/chats/a?from={offset}')
        assert reply.body == WHOLE[offset:]
        assert reply.headers['content-length'] == str(len(WHOLE) - offset)
    head = there.client.call('HEAD', '/chats/a')
    assert head.headers['stream-total-bytes'] == str(len(WHOLE))
    assert head.headers['stream-state'] == 'complete'
    assert head.headers['content-length'] == str(len(WHOLE))


def test_a_browser_s_events_are_there_too(start: Start) -> None:
    """As ``?as=events``, with ids by which an ``EventSource`` resumes."""
    there = start()
    with there.begin('a') as live:
        go_on = there.gate('a').open
        resumes(there.client, '/chats/a?as=events', live, len(FIRST), go_on)


def test_a_chat_is_resumed_and_stopped(start: Start) -> None:
    # Under ``sync`` a reader takes a whole worker, and two read at once here.
    there = start(workers=3)
    with there.begin('a') as live:
        resumes_and_stops(there.client, '/chats/a', live, len(FIRST))
    assert there.client.get('/chats/a/stream', **{'X-User': 'stranger'}).status == 401
    reply = there.client.call('POST', '/chats/a/stop', headers={'X-User': 'stranger'})
    assert reply.status == 401


def test_a_browser_comes_back_while_an_answer_has_not_begun(start: Start) -> None:
    there = start()
    target = '/chats/pending?as=events'
    owner = owner_of('somebody')
    waits(there.client, there.server.directory, 'pending', target, owner)
    assert there.client.get('/chats/never?as=events').status == 404


def test_a_silent_source_is_stopped_by_another_worker(start: Start) -> None:
    there = start()
    with there.begin('a') as live:
        head = there.client.call('HEAD', '/chats/a')
        assert (head.status, head.headers['stream-state']) == (200, 'live')
        assert 'content-length' not in head.headers
        assert there.client.delete('/chats/a').status == 204
        assert live.rest() == FIRST
        assert live.whole
    assert wait_until(lambda: bool(there.gate('a').closed()))
    assert there.gate('a').closed() in ('CancelledError', 'saw it')
    assert there.client.get('/chats/a').status == 404


def test_a_reload_in_mid_answer_loses_nothing(start: Start) -> None:
    """The response of the POST goes on; a reader is cut, and resumes elsewhere."""
    there = start('--graceful-timeout', '2')
    before = there.server.worker_pids()
    with there.begin('a') as live, there.elsewhere('a', live.worker) as tab:
        tab.until(len(FIRST))
        there.server.signal(signal.SIGHUP)
        read = tab.rest()
        assert tab.whole is False
        assert wait_until(there.told)
        assert wait_until(lambda: there.newer_than(before) > 1)
        # Longer than gunicorn's own patience with the requests of its old workers.
        assert not wait_until(lambda: gone(live.worker), 4.0)
        there.gate('a').open()
        assert live.rest() == WHOLE
        assert live.whole
    assert read + there.read('a', len(read)) == WHOLE
    assert there.gate('a').closed() == 'ended'
    assert wait_until(lambda: gone(live.worker))


def test_the_death_of_the_producing_worker_is_told_in_band(start: Start) -> None:
    there = start()
    with there.begin('a') as live:
        os.kill(live.worker, signal.SIGKILL)
        assert wait_until(lambda: gone(live.worker))
        data = there.read('a')
    assert data.startswith(FIRST)
    assert b'event: error' in data
    with there.begin('a') as live:
        there.gate('a').open()
        assert live.rest() == WHOLE


def test_an_answer_goes_on_when_its_client_leaves_at_once(start: Start) -> None:
    there = start()
    body = b'{"name": "a", "before": 3, "after": 4}'
    head = (
        'POST /chats/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n'
        f'Content-Length: {len(body)}\r\n\r\n'
    )
    with socket.create_connection(('127.0.0.1', there.server.port), TIMEOUT_S) as sock:
        sock.sendall(head.encode() + body)
    with there.begin('b') as live:
        there.gate('b').open()
        assert live.rest() == WHOLE
    there.gate('a').open()
    assert there.read('a') == WHOLE
    assert wait_until(lambda: there.gate('a').closed() == 'ended')


def test_the_application_says_who_may(start: Start) -> None:
    there = start()
    with there.begin('a', **{'X-User': 'alice'}) as live:
        there.gate('a').open()
        live.rest()
    assert there.client.get('/chats/a', **{'X-User': 'alice'}).body == WHOLE
    lookup = b'{"conversation_ids": ["a"]}'
    for user, status, found in (('bob', 404, 0), ('alice', 200, 1)):
        headers = {'X-User': user}
        assert there.client.get('/chats/a', **headers).status == status
        reply = there.client.call('POST', '/chats/lookup', lookup, headers)
        assert (reply.status, len(reply.json())) == (200, found)
    for method, target in (
        ('GET', '/chats/a'),
        ('DELETE', '/chats/a'),
        ('POST', '/chats/lookup'),
    ):
        headers = {'X-User': 'stranger'}
        reply = there.client.call(method, target, lookup, headers)
        assert reply.status == 401
    assert there.client.get('/chats/a', **{'X-User': 'alice'}).status == 200
    refused = there.client.open(
        'POST',
        '/chats/b',
        b'{"name": "b", "before": 3, "after": 4}',
        {'X-User': 'stranger', 'Content-Type': 'application/json'},
    )
    assert refused.status == 401
    refused.close()
    assert there.client.get('/chats/b').status == 404


def test_ids_with_a_slash_and_routes_of_the_application(start: Start) -> None:
    there = start()
    with there.begin('a', target='/chats/?conv_id=a%2F%C3%A4%20b') as live:
        assert live.headers['content-location'] == ('/chats/?conv_id=a%2F%C3%A4%20b')
        there.gate('a').open()
        assert live.rest() == WHOLE
    target = '/chats/?conv_id=a%2F%C3%A4%20b'
    assert there.client.get(f'{target}&from=5').body == WHOLE[5:]
    assert there.client.call('HEAD', target).status == 200
    assert there.client.delete(target).status == 204
    assert there.client.get(target).status == 404
    assert there.client.get('/chats/a/title').body.startswith(b'a by ')
    assert there.client.get('/chats/').status == 400
    assert there.client.call('PUT', '/chats/a', b'x').status == 405
    large = b'{"conversation_ids": []}'.ljust((1 << 20) + 1)
    assert there.client.call('POST', '/chats/lookup', large).status == 413


def test_the_library_s_client_resumes_what_its_post_has_begun(start: Start) -> None:
    there = start()
    there.gate('a').open()
    with Cutting(there.server.port, b'\n\n', 2, 1) as relay:
        url = f'http://127.0.0.1:{relay.port}/chats/a'
        with shm_client.follow(url, json=there.asked('a')) as stream:
            assert b''.join(stream.raw()) == WHOLE
        assert [r.split()[0] for r in relay.requests] == [b'POST', b'GET', b'GET']


def test_a_reader_that_is_overtaken_is_cut(start: Start) -> None:
    there = start(SESSION_BYTES='65536')
    with (
        Streams.attach(there.server.directory) as streams,
        streams.create('a', owner=owner_of('somebody')) as producer,
    ):
        producer.write(b'data: 1\n\n')
        with there.client.open('GET', '/chats/a') as live:
            live.until(1)
            assert cut_by_the_ring(live, producer)
        assert wait_until(lambda: not producer.followers)
