"""Django's views begin, read, stop and look up answers, whatever server runs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from shmstream.client import follow
from tests.answers.django_deployment import (
    WORKERS,
    Deployment,
)
from tests.answers.watched import asks, nothing_in
from tests.producing.scripted import whole
from tests.producing.steered import AFTER, BEFORE, CONFIG, WHOLE
from tests.support.chat_routes import resumes_and_stops
from tests.support.cutting import Cutting
from tests.support.event_source import resumes, waits
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.service import Service


@pytest.fixture(scope='module', params=matrix(WORKERS, 'asgi', 'gthread'))
def there(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Two workers of each class, shared; nothing may block their event loops."""
    arguments, ready, path = WORKERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    blocked = folder / 'blocked'
    # Greenlets share a thread, so what one of them does would be taken for a block of
    # the loop that runs in another.
    watched = {} if request.param == 'gevent' else asks(blocked)
    with Service(
        folder / 'service.log',
        workers=2,
        config=CONFIG,
        arguments=arguments,
        ready=ready,
        environment={'ANSWERS_FOLDER': str(folder), **watched},
    ) as service:
        yield Deployment(request.param, service, folder, path)
    if watched:
        nothing_in(blocked)


def test_an_answer_is_begun_followed_resumed_and_looked_up(
    there: Deployment, conv_id: str
) -> None:
    """Everything that a chat needs, in one deployment, because a start takes seconds.

    1. POST begins an answer and streams it. 2. Another worker follows it. 3. A client
    resumes it at an offset of a silent stream: its headers are there at once. 4. The
    look-up knows it, and a HEAD. 5. The source goes on, and all come to the same end.
    6. What has ended is read from any offset, and its HEAD says how long it is.
    """
    client = there.client
    with there.begin(conv_id) as post:
        assert post.status == 200
        assert post.headers['content-type'] == 'text/event-stream'
        assert post.headers['content-location'] == there.address(conv_id)
        with (
            there.elsewhere(conv_id, post.worker) as other,
            there.follow(conv_id, len(whole(BEFORE))) as resumed,
        ):
            assert resumed.status == 200
            assert (
                resumed.headers['stream-generation']
                == (post.headers['stream-generation'])
            )
            body = json.dumps({'conversation_ids': [conv_id, 'b']}).encode()
            (found,) = client.call('POST', '/chats/lookup', body).json()
            assert found['conversation_id'] == conv_id
            head = client.call('HEAD', there.address(conv_id))
            assert (head.status, head.body) == (200, b'')
            assert head.headers['stream-total-bytes'] == str(len(whole(BEFORE)))
            # Nobody knows the length yet.
            assert 'content-length' not in head.headers
            there.gate(conv_id).open()
            assert post.rest() == WHOLE
            assert other.rest() == WHOLE
            assert resumed.rest() == WHOLE[len(whole(BEFORE)) :]
            assert post.whole
            assert other.whole
            assert resumed.whole
    for offset in (0, 1, len(WHOLE) - 1, len(WHOLE)):
        reply = client.get(there.address(conv_id, offset))
        assert reply.whole
        assert reply.body == WHOLE[offset:]
    head = client.call('HEAD', there.address(conv_id))
    assert (head.status, head.body) == (200, b'')
    assert head.headers['stream-total-bytes'] == str(len(WHOLE))
    assert head.headers['content-length'] == str(len(WHOLE))
    assert wait_until(lambda: there.gate(conv_id).closed() == 'ended')


def test_a_browser_s_events_are_there_too(there: Deployment, conv_id: str) -> None:
    """As ``?as=events``, with ids by which an ``EventSource`` resumes."""
    with there.begin(conv_id) as post:
        target, go_on = f'{there.address(conv_id)}?as=events', there.gate(conv_id).open
        resumes(there.client, target, post, len(whole(BEFORE)), go_on)


def test_a_chat_is_resumed_and_stopped(there: Deployment, conv_id: str) -> None:
    address = f'/notes/{conv_id}/a'
    with there.begin(conv_id, address) as post:
        resumes_and_stops(there.client, address, post, len(whole(BEFORE)))
    assert there.client.call('OPTIONS', f'{address}/stream').status == 405
    assert there.client.get(f'{address}/stop').status == 405


def test_a_browser_comes_back_while_an_answer_has_not_begun(
    there: Deployment, conv_id: str
) -> None:
    target = f'{there.address(conv_id)}?as=events'
    waits(there.client, there.server.directory, conv_id, target)


def test_delete_stops_a_silent_source_of_another_worker(
    there: Deployment, conv_id: str
) -> None:
    with there.begin(conv_id) as post, there.elsewhere(conv_id, post.worker) as other:
        assert there.client.delete(there.address(conv_id)).status == 204
        for live in (post, other):
            assert live.rest() == whole(BEFORE)
            assert live.whole
    assert wait_until(
        lambda: there.gate(conv_id).closed() in ('CancelledError', 'saw it')
    )
    assert there.client.get(there.address(conv_id)).status == 404


def test_a_client_that_leaves_at_once_changes_nothing(
    there: Deployment, conv_id: str
) -> None:
    there.post(there.address(conv_id), conv_id).close()
    there.gate(conv_id).open()
    assert there.read(conv_id) == WHOLE
    assert wait_until(lambda: there.gate(conv_id).closed() == 'ended')


def test_who_may_is_asked_for_every_request(there: Deployment, conv_id: str) -> None:
    """Owners do not see each other's answers; refusals and exceptions are Django's."""
    client = there.client
    begun = json.dumps({'name': conv_id, 'before': 0, 'after': 0}).encode()
    path = 'owned' if there.path == 'chats' else 'owned-too'
    with there.begin(conv_id, f'/{path}/{conv_id}', **{'X-User': 'alice'}) as post:
        assert post.status == 200
        target = f'/{path}/{conv_id}'
        for user, status in (('bob', 404), ('mallory', 403)):
            assert client.get(target, **{'X-User': user}).status == status
        assert client.get(target).status == 401
        assert client.get(target).error['message'] == 'Who are you?'
        for method, body in (('DELETE', None), ('POST', begun)):
            refused = client.call(method, target, body, {'X-User': 'mallory'})
            assert refused.status == 403
        # Nobody's, so that nothing of it is stopped.
        assert client.call('DELETE', target, None, {'X-User': 'bob'}).status == 204
        asked = json.dumps({'conversation_ids': [conv_id]}).encode()
        for user, size in (('alice', 1), ('bob', 0)):
            found = client.call('POST', '/owned/lookup', asked, {'X-User': user})
            assert len(found.json()) == size
        assert client.call('POST', '/owned/lookup', asked).status == 401
        there.gate(conv_id).open()
        assert post.rest() == WHOLE
    assert client.get(target, **{'X-User': 'alice'}).body == WHOLE


def test_the_address_of_an_answer_is_the_one_that_it_is_found_at(
    there: Deployment, conv_id: str
) -> None:
    """A client whose connection is cut resumes there.

    Also for ids with a slash, and for those that only the body of the POST has.
    """
    asked = {'name': 'x', 'id': 'a/b c?', 'before': BEFORE, 'after': AFTER}
    there.gate('x').open()
    for target, address in (
        ('/notes/a/b%20c%3F', '/notes/a/b%20c%3F'),
        ('/questions', '/questions?conv_id=a%2Fb%20c%3F'),
    ):
        with Cutting(there.server.port, b'\n\n', 2) as relay:
            url = f'http://127.0.0.1:{relay.port}{target}'
            with follow(url, json=asked) as following:
                assert b''.join(following.raw()) == WHOLE
            requests = [head.split()[:2] for head in relay.requests]
        assert requests[0] == [b'POST', target.encode()]
        assert requests[1][0] == b'GET'
        assert requests[1][1].startswith(address.encode())
        assert there.client.get(address).body == WHOLE
        assert there.client.delete(address).status == 204
        assert there.client.get(address).status == 404


def test_what_is_wrong_is_said(there: Deployment, conv_id: str) -> None:
    client = there.client
    assert client.get(there.address('never')).status == 404
    assert client.get(there.address(conv_id) + '?from=x').status == 400
    assert client.call('PUT', there.address(conv_id), b'x').status == 405
    assert client.call('OPTIONS', there.address(conv_id)).headers['allow'] == (
        'DELETE, GET, HEAD, POST'
    )
    assert client.get('/questions').status == 400
    assert client.get('/chats/lookup').status == 405
    assert client.call('POST', '/chats/lookup', b'[]').status == 400
    assert client.call('POST', '/chats/lookup', b'x' * (1 << 20) + b'x').status == 413


def test_start_in_an_async_view_is_refused(there: Deployment, conv_id: str) -> None:
    there.gate(conv_id).open()
    with there.post(f'/wrongly/{conv_id}', conv_id) as post:
        assert post.status == 500
    assert there.client.get(f'/wrongly/{conv_id}').status == 404


@pytest.mark.parametrize(
    'there',
    matrix([kind for kind in WORKERS if kind != 'gevent'], 'asgi', 'gthread'),
    indirect=True,
)
def test_an_async_source_outlives_a_view_that_is_no_coroutine(
    there: Deployment, conv_id: str
) -> None:
    there.begin(conv_id, f'/mixed/{conv_id}').close()
    there.gate(conv_id).open()
    assert there.read(conv_id) == WHOLE
    assert wait_until(lambda: there.gate(conv_id).closed() == 'ended')


def test_a_stream_is_not_compressed(there: Deployment, conv_id: str) -> None:
    """``GZipMiddleware`` would keep its events back, and nobody could resume it."""
    accept = {'Accept-Encoding': 'gzip'}
    with there.begin(conv_id, **accept) as post:
        target = there.address(conv_id)
        with there.client.open('GET', target, headers=accept) as live:
            assert live.until(len(whole(BEFORE))) == whole(BEFORE)
            for each in (post, live):
                assert 'content-encoding' not in each.headers
        there.gate(conv_id).open()
        assert post.rest() == WHOLE


def test_csrf_is_checked_as_for_all_views(there: Deployment, conv_id: str) -> None:
    """But for look-ups, which change nothing."""
    token = 'a' * 32
    headers = {'Cookie': f'csrftoken={token}', 'X-CSRFToken': token}
    client, target = there.client, f'/guarded-{there.path}/{conv_id}'
    body = json.dumps({'name': conv_id, 'before': 1, 'after': 0}).encode()
    there.gate(conv_id).open()
    assert client.call('POST', target, body).status == 403
    assert client.call('POST', target, body, headers).body == whole(1)
    assert client.get(target).body == whole(1)
    assert client.delete(target).status == 403
    assert client.call('DELETE', target, None, headers).status == 204
    assert client.get(target).status == 404


@pytest.mark.parametrize('kind', ['asgi', 'gthread'])
def test_the_example_runs_as_it_says(kind: str, serve: Callable[..., Service]) -> None:
    arguments, ready, path = WORKERS[kind]
    app = f'examples.django_app:{arguments[-1].rpartition(":")[2]}'
    service = serve(
        workers=2, config=CONFIG, arguments=(*arguments[:-1], app), ready=ready
    )
    client, target = service.client(), f'/{path}/a'
    answer = b'data: one\n\ndata: two\n\n'
    assert client.call('POST', target, b'{"text": "one two"}').body == answer
    for _ in range(4):
        assert client.get(f'{target}?from=5').body == answer[5:]
    assert client.delete(target).status == 204
    assert client.get(target).status == 404
