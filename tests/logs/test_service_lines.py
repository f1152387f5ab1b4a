"""What the service logs: all lines are objects, one per stream, no secret in any."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from shmstream.ids import NOBODY, digest
from tests.http.proxied import Proxied, proxied_with
from tests.logs.lines import Line, life, lives, objects, until_followed
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.service import Service
from tests.support.upstream import Exchange

KEY = 'sk-do-not-log'
AUTHORISED = {'Authorization': f'Bearer {KEY}'}
SECRET = b'the content'
EVENT = b'data: ' + SECRET + b'\n\n'
TRACE, SPAN = 'ab' * 16, 'cd' * 8


@pytest.fixture(scope='module')
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    log = tmp_path_factory.mktemp('lines') / 'service.log'
    settings = {'LOG_FORMAT': 'json', 'API_KEYS': f'{KEY},other'}
    with proxied_with(
        settings,
        log=log,
        workers=2,
        ready='ASGI server listening',
        arguments=('--access-logfile', '-'),
    ) as proxied:
        yield proxied
    text = log.read_text()
    # From the first line of gunicorn to its last one.
    assert len(objects(text)) > 20
    assert KEY not in text
    assert SECRET.decode() not in text
    generations = [line['generation'] for line in lives(text)]
    assert len(generations) == len(set(generations))


@pytest.fixture
def proxied(module: Proxied) -> Iterator[Proxied]:
    yield module
    module.clear()


def told(proxied: Proxied, conv_id: str, cause: str) -> Line:
    return life(proxied.service.text, conversation_id=conv_id, cause=cause)


def test_a_whole_answer(proxied: Proxied) -> None:
    feed = proxied.feed(first=EVENT)
    headers = AUTHORISED | {
        'X-Request-Id': 'asked-1',
        'traceparent': f'00-{TRACE}-{SPAN}-01',
        'tracestate': 'vendor=1',
    }
    with proxied.post('whole', feed, **headers) as post:
        post.until(len(EVENT))
        target = path('whole', 6)
        with proxied.client.open('GET', target, headers=headers) as again:
            again.until(1)
            until_followed(proxied.service.directory, 'whole', 2)
            feed.send(b'data: [DONE]\n\n')
            feed.end()
            assert again.rest() == EVENT[6:] + b'data: [DONE]\n\n'
        post.rest()
    sent = feed.exchange.headers
    for name in ('X-Request-Id', 'traceparent', 'tracestate'):
        assert dict(sent)[name.lower()] == headers[name]
    line = told(proxied, 'whole', 'complete')
    assert line['state'] == 'complete'
    assert line['generation'] == post.headers['stream-generation']
    assert line['bytes'] == len(post.body)
    assert (line['followers'], line['resumes']) == (2, 1)
    assert line['upstream_status'] == 200
    assert (line['request_id'], line['trace_id']) == ('asked-1', TRACE)
    assert 0 <= line['first_byte_seconds'] <= line['seconds']
    assert len(line['owner']) == 8
    assert line['level'] == 'info'

    def responses() -> list[Line]:
        return [
            each
            for each in objects(proxied.service.text())
            if each['logger'] == 'gunicorn.access'
            and each.get('generation') == line['generation']
        ]

    assert wait_until(lambda: len(responses()) == 2)
    by_offset = {each['from']: each for each in responses()}
    assert by_offset[6]['path'] == target.partition('?')[0]
    assert by_offset[6]['bytes'] == len(again.body)
    assert by_offset[0]['method'] == 'POST'
    assert {each['trace_id'] for each in responses()} == {TRACE}
    assert {each['request_id'] for each in responses()} == {'asked-1'}


def test_who_stopped_it(proxied: Proxied) -> None:
    first, second = proxied.feed(first=EVENT), proxied.feed(first=EVENT)
    with proxied.post('stopped', first, **AUTHORISED) as post:
        post.until(len(EVENT))
        with proxied.post('stopped', second, **AUTHORISED) as newer:
            newer.until(len(EVENT))
            line = told(proxied, 'stopped', 'replaced')
            assert line['generation'] == post.headers['stream-generation']
            proxied.client.call('DELETE', path('stopped'), headers=AUTHORISED)
            assert told(proxied, 'stopped', 'deleted')['state'] == 'cancelled'
    unheard = proxied.feed(first=EVENT)
    with proxied.post(
        'unheard', unheard, **AUTHORISED, **{'Stream-On-Disconnect': 'cancel'}
    ) as post:
        post.until(len(EVENT))
    assert told(proxied, 'unheard', 'unheard')['state'] == 'cancelled'


def test_what_failed(proxied: Proxied) -> None:
    broken = proxied.feed(first=EVENT)
    with proxied.post('broken', broken, **AUTHORISED) as post:
        post.until(len(EVENT))
        broken.break_off()
        post.rest()
    assert told(proxied, 'broken', 'upstream')['state'] == 'aborted'

    def refuse(exchange: Exchange) -> None:
        exchange.reply(429, b'{}', ('Content-Type', 'application/json'))

    proxied.script = refuse
    with proxied.client.post('refused', {}, **AUTHORISED) as post:
        assert post.status == 429
    line = told(proxied, 'refused', 'withdrawn')
    assert (line['upstream_status'], line['bytes']) == (429, 0)
    assert 'first_byte_seconds' not in line


def test_a_worker_that_is_killed(proxied: Proxied) -> None:
    feed = proxied.feed(first=EVENT)
    headers = AUTHORISED | {'traceparent': f'00-{TRACE}-{SPAN}-01'}
    with proxied.post('killed', feed, **headers) as post:
        post.until(len(EVENT))
        os.kill(post.worker, signal.SIGKILL)
        post.rest()
    line = told(proxied, 'killed', 'died')
    assert (line['state'], line['trace_id']) == ('aborted', TRACE)
    assert line['pid'] in proxied.service.supervisors()


def test_ids_that_must_not_be_shown(serve: Callable[..., Service]) -> None:
    service = serve(
        workers=1,
        settings={'LOG_IDS': 'hashed', 'DEMO_RATE': '200'},
        arguments=('--access-logfile', '-'),
    )
    client = service.client()
    with client.post('secret/chat', {'max_tokens': 2}) as post:
        post.rest()
    for form in ('/v1/stream/secret/chat', '/v1/events/secret%2Fchat?last_event_id='):
        assert client.get(form).status == 200
    assert client.get('/api/secret%2Fchat/stream').status == 404
    generation = post.headers['stream-generation']
    shown = f'conversation_id={digest(NOBODY, "secret/chat")[:16]} '

    def there() -> bool:
        text = service.text()
        return shown in text and '"GET /api/*/stream" 404' in text

    assert wait_until(there), service.text()
    text = service.text()
    assert 'secret' not in text
    # What an operator has instead: the generation, in both lines.
    assert text.count(f'generation={generation}') == 4


def test_a_failure_of_the_upstream_shows_no_id(serve: Callable[..., Service]) -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        nobody = f'http://127.0.0.1:{listener.getsockname()[1]}'
    service = serve(workers=1, settings={'LOG_IDS': 'none', 'UPSTREAM': nobody})
    assert service.client().get('/v1/responses/secret').status == 502
    told = 'GET /v1/responses/*: upstream cannot be reached'
    assert wait_until(lambda: told in service.text()), service.text()
    assert 'secret' not in service.text()
