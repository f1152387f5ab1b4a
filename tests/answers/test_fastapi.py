"""A FastAPI application under each server, with two workers: what its clients get."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from shmstream import browser
from shmstream.serving.chat_routes import MAX_STOP_BYTES
from tests.answers.asgi_deployments import ALONE, SERVERS, Deployment, deployment
from tests.answers.watched import asks, nothing_in
from tests.producing.scripted import whole
from tests.producing.steered import AFTER, BEFORE, FIRST, WHOLE
from tests.support.chat_routes import resumes_and_stops
from tests.support.event_source import resumes, waits
from tests.support.leaks import wait_until
from tests.support.matrix import matrix

APP = 'tests.answers.fastapi_app:app'
VARIANTS = ('plain', 'cors', 'gzip', 'base')

_numbers = itertools.count()


@pytest.fixture(scope='module', params=matrix(SERVERS, 'gunicorn'))
def there(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Each server, shared by these tests; nothing may block its event loops."""
    folder = tmp_path_factory.mktemp(request.param)
    blocked = folder / 'blocked'
    watched: dict[str, Any] = asks(blocked)
    with deployment(
        # A source that fails is in the log.
        *(request.param, APP, folder),
        expected=('Traceback',),
        **watched,
    ) as found:
        yield found
        log = found.server.text()
    nothing_in(blocked)
    # Only hypercorn and granian have no quieter way to cut a response.
    if request.param not in ALONE:
        # The test of it may run with another such server.
        assert log.count('Traceback') <= 1


@pytest.fixture
def chat() -> str:
    """A name that no other test uses."""
    return f'chat-{next(_numbers)}'


def finished(there: Deployment, chat: str) -> bytes:
    """Begin an answer, and read it to its end."""
    asked = {'name': chat, 'before': BEFORE}
    there.gate(chat).open()
    with there.ask(f'/plain/chat/{chat}', asked) as live:
        data = live.rest()
        assert live.whole
    assert data == FIRST
    return data


@pytest.mark.parametrize('variant', VARIANTS)
def test_an_answer_is_streamed_and_read_again(
    there: Deployment, chat: str, variant: str
) -> None:
    """1. POST begins. 2. A second tab follows from an offset. 3. Both get all of it."""
    target = f'/{variant}/chat/{chat}'
    with there.begin(target, chat) as live:
        assert live.headers['content-type'] == 'text/event-stream'
        assert live.headers['content-location'] == target
        assert live.headers['stream-offset'] == '0'
        generation = live.headers['stream-generation']
        with there.client.open('GET', f'{target}?from=10') as second:
            assert second.headers['stream-generation'] == generation
            second.until(len(FIRST) - 10)
            there.gate(chat).open()
            assert second.rest() == WHOLE[10:]
            assert second.whole
        assert live.rest() == WHOLE
        assert live.whole
    again = there.client.get(f'{target}?from=20')
    assert again.body == WHOLE[20:]
    assert again.headers['stream-state'] == 'complete'


@pytest.mark.parametrize('variant', VARIANTS)
def test_a_browser_s_events_are_there_too(
    there: Deployment, chat: str, variant: str
) -> None:
    """As ``?as=events``, with ids by which an ``EventSource`` resumes."""
    target = f'/{variant}/chat/{chat}'
    with there.begin(target, chat) as post:
        events, go_on = f'{target}?as=events', there.gate(chat).open
        resumes(there.client, events, post, len(FIRST), go_on)


def test_a_browser_comes_back_while_an_answer_has_not_begun(
    there: Deployment, chat: str
) -> None:
    target = f'/plain/chat/{chat}?as=events'
    waits(there.client, there.server.directory, chat, target)


def test_a_chat_is_resumed_and_stopped(there: Deployment, chat: str) -> None:
    """Its id has a slash, which ``useChat`` encodes."""
    target = f'/plain/chat/{chat}%2Fa'
    with there.begin(target, chat) as post:
        address = f'/plain/chat/?conv_id={chat}%2Fa'
        assert post.headers['content-location'] == address
    with there.begin(f'/plain/chat/{chat}', chat) as post:
        resumes_and_stops(there.client, f'/plain/chat/{chat}', post, len(FIRST))
    for user, status in (('unknown', 401), ('banned', 403), ('bob', 204)):
        reply = there.client.get(f'{target}/stream', **{'X-User': user})
        assert reply.status == status
    with there.client.open('GET', f'{target}/stream') as live:
        assert live.until(len(FIRST)) == FIRST
        for user, status in (('unknown', 401), ('banned', 403), ('bob', 200)):
            headers = {'X-User': user}
            reply = there.client.call('POST', f'{target}/stop', headers=headers)
            assert reply.status == status
        too_much = b' ' * (MAX_STOP_BYTES + 1)
        assert there.client.call('POST', f'{target}/stop', too_much).status == 413
        assert there.client.call('POST', f'{target}/stop').status == 200
        live.rest()
        assert live.whole


def test_another_worker_resumes(there: Deployment, chat: str) -> None:
    with there.begin(f'/plain/chat/{chat}', chat) as live:
        pass

    def resumed() -> bool:
        """Read at whichever worker accepts; whether it was another one."""
        with there.client.open('GET', f'/base/chat/{chat}?from=10') as second:
            assert second.until(len(FIRST) - 10) == FIRST[10:]
            return second.worker != live.worker

    assert wait_until(resumed)
    there.gate(chat).open()
    assert there.read(f'/plain/chat/{chat}') == WHOLE


@pytest.mark.parametrize('variant', VARIANTS)
def test_stop_ends_a_silent_answer_at_once(
    there: Deployment, chat: str, variant: str
) -> None:
    """The reader of the response that began it, and another, get a clean end."""
    target = f'/{variant}/chat/{chat}'
    with (
        there.begin(target, chat) as live,
        there.client.open('GET', target) as second,
    ):
        second.until(len(FIRST))
        stopped = there.call('DELETE', target)
        assert (stopped.status, stopped.body) == (204, b'')
        assert live.rest() == second.rest() == FIRST
        assert live.whole
        assert second.whole
    assert wait_until(lambda: there.gate(chat).closed() == 'CancelledError')
    assert there.client.get(target).status == 404


@pytest.mark.parametrize('variant', VARIANTS)
def test_a_client_that_leaves_at_once_changes_nothing(
    there: Deployment, chat: str, variant: str
) -> None:
    target = f'/{variant}/chat/{chat}'
    there.ask(target, {'name': chat, 'before': BEFORE, 'after': AFTER}).close()
    there.gate(chat).open()
    assert there.read(target) == WHOLE
    assert wait_until(lambda: there.gate(chat).closed() == 'ended')


@pytest.mark.parametrize('variant', VARIANTS)
def test_a_reader_that_the_ring_overtakes_is_cut(
    there: Deployment, chat: str, variant: str
) -> None:
    """Without the closing chunk, whatever middleware there is: it has to resume."""
    target = f'/{variant}/chat/{chat}'
    asked = {'name': chat, 'before': BEFORE, 'flood': 2000, 'capacity': 65536}
    with (
        there.ask(f'/plain/chat/{chat}', asked) as live,
        there.client.open('GET', target) as slow,
    ):
        slow.until(len(FIRST))
        there.gate(chat).open()
        live.rest()
        assert live.whole
        slow.rest()
        assert slow.whole is False


def test_head_and_look_up(there: Deployment, chat: str) -> None:
    data = finished(there, chat)
    head = there.call('HEAD', f'/plain/chat/{chat}')
    assert (head.status, head.body) == (200, b'')
    assert head.headers['stream-total-bytes'] == str(len(data))
    body = json.dumps({'conversation_ids': [chat, 'nobody']}).encode()
    (found,) = there.client.call('POST', '/plain/chat/lookup', body).json()
    assert found['conversation_id'] == chat
    assert found['state'] == 'complete'
    wrong = there.client.call('POST', '/plain/chat/lookup', b'{')
    assert wrong.status == 400
    assert 'invalid body' in wrong.error['message']
    module = there.client.get('/plain/chat/shmstream.js')
    assert module.headers['content-type'] == browser.CONTENT_TYPE
    assert module.body == browser.module()
    much = there.client.call('POST', '/plain/chat/lookup', b' ' * (1 << 20) + b'{}')
    assert much.status == 413


def test_an_id_with_a_slash_has_an_address_that_works(
    there: Deployment, chat: str
) -> None:
    there.gate(chat).open()
    with there.ask(f'/plain/chat/{chat}/a%20b', {'name': chat, 'before': 2}) as live:
        assert live.rest() == whole(2)
        location = live.headers['content-location']
    assert location == f'/plain/chat/?conv_id={chat}%2Fa%20b'
    assert there.client.get(location).body == whole(2)
    assert there.client.get(f'{location}&from=5').body == whole(2)[5:]
    assert there.call('DELETE', location).status == 204
    assert there.client.get(location).status == 404


def test_owners_have_conversations_of_their_own(there: Deployment, chat: str) -> None:
    target = f'/plain/chat/{chat}'
    there.gate(chat).open()
    ann, ben = {'X-User': 'ann'}, {'X-User': 'ben'}
    with there.ask(target, {'name': chat, 'before': 2}, **ann) as live:
        live.rest()
    assert there.client.get(target, **ann).body == whole(2)
    assert there.client.get(target, **ben).status == 404
    assert there.client.get(target).status == 404
    assert there.call('DELETE', target, **ben).status == 204
    assert there.client.get(target, **ann).status == 200


def test_who_may_not_is_refused_everywhere(there: Deployment, chat: str) -> None:
    finished(there, chat)
    target = f'/plain/chat/{chat}'
    for user, status in (('unknown', 401), ('banned', 403)):
        named = {'X-User': user}
        for method in ('GET', 'HEAD', 'DELETE'):
            assert there.call(method, target, **named).status == status
        with there.ask(target, {'name': f'{chat}-{user}', 'before': 1}, **named) as no:
            assert no.status == status
        body = b'{"conversation_ids": []}'
        looked = there.client.call('POST', '/plain/chat/lookup', body, named)
        assert looked.status == status
    assert there.client.get(target, Key='wrong').status == 403
    assert there.client.get(target).body == FIRST


def test_an_id_that_is_none_is_refused(there: Deployment) -> None:
    for name in ('%00', 'x' * 513):
        with there.ask(f'/plain/chat/{name}', {'name': 'none', 'before': 1}) as live:
            assert live.status == 400
            assert b'invalid_request_error' in live.rest()
        assert there.client.get(f'/plain/chat/{name}').status == 400


def test_headers_cookies_and_tasks_of_the_application(
    there: Deployment, chat: str
) -> None:
    """The task begins when the response has been sent."""
    sent = there.folder / f'{chat}.sent'
    with there.begin(f'/plain/chat/{chat}', chat) as live:
        assert live.worker
        assert live.headers['set-cookie'].startswith(f'last-chat={chat}')
        assert not sent.exists()
        there.gate(chat).open()
        live.rest()
    assert wait_until(sent.exists)


def test_routes_of_the_application_are_its_own(there: Deployment) -> None:
    assert there.client.get('/plain/chat').json() == ['all', 'chats']
    assert there.client.get('/plain/chat/a/title').json() == 'the title of a'
    assert there.call('PUT', '/plain/chat/a').status == 405


def test_cross_origin_requests_are_allowed(there: Deployment, chat: str) -> None:
    finished(there, chat)
    reply = there.client.get(f'/cors/chat/{chat}', Origin='https://example.org')
    assert reply.body == FIRST
    assert reply.headers['access-control-allow-origin'] == 'https://example.org'
    assert 'stream-generation' in reply.headers['access-control-expose-headers']


def test_compressed_lines_are_whole(there: Deployment, chat: str) -> None:
    """The middleware compresses what is no event stream."""
    import gzip

    there.gate(chat).open()
    asked = {'name': chat, 'before': BEFORE, 'format': 'jsonl'}
    gzipped = {'Accept-Encoding': 'gzip'}
    with there.ask(f'/gzip/chat/{chat}', asked, **gzipped) as live:
        data = gzip.decompress(live.rest())
        assert live.whole
    lines = data.splitlines()
    assert [json.loads(line) for line in lines] == [f'event {n}' for n in range(BEFORE)]
    again = there.client.get(f'/gzip/chat/{chat}', **gzipped)
    assert gzip.decompress(again.body) == data


def test_a_failure_is_told_in_band(there: Deployment, chat: str) -> None:
    there.gate(chat).open()
    asked = {'name': chat, 'before': 2, 'after': 1, 'fails': True}
    with there.ask(f'/plain/chat/{chat}', asked) as live:
        data = live.rest()
        assert live.whole
    assert data.startswith(whole(2))
    assert b'event: error' in data
    assert b'a secret of the application' not in data
