"""The demo model, the page and the health of a service without an upstream."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.http.wire import JSON, ask, assert_error, one_per_worker
from tests.support.client import Reply, path
from tests.support.service import Service

COMPLETIONS = '/v1/chat/completions'
MESSAGES = [{'role': 'user', 'content': 'Who are you?'}]


def complete(
    demo: Service, conv_id: str | None = None, target: str = COMPLETIONS, **asked: Any
) -> Reply:
    body = json.dumps({'messages': MESSAGES, 'max_tokens': 3, **asked}).encode()
    headers = {} if conv_id is None else {'X-Conversation-Id': conv_id}
    return demo.client().call('POST', target, body, headers)


def events(body: bytes) -> list[dict[str, Any]]:
    """The chunks of a streamed completion; checks that it is one."""
    *blocks, end = body.split(b'\n\n')
    assert end == b''
    assert blocks.pop() == b'data: [DONE]'
    assert all(block.startswith(b'data: {') for block in blocks)
    return [json.loads(block.removeprefix(b'data: ')) for block in blocks]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return ''.join(c['choices'][0]['delta'].get('content', '') for c in chunks)


def test_models_are_listed(demo: Service) -> None:
    for target in ('/v1/models', '/models'):
        reply = demo.client().get(target)
        assert reply.status == 200
        assert reply.headers['content-type'].startswith('application/json')
        assert reply.json()['object'] == 'list'
        (model,) = reply.json()['data']
        assert (model['id'], model['object']) == ('shmstream-demo', 'model')
    head = ask(demo.port, 'HEAD /v1/models')
    assert (head.status, head.body) == (200, b'')
    assert head.all('content-length') == [str(len(reply.body))]


@pytest.mark.parametrize('target', [COMPLETIONS, '/chat/completions'])
def test_a_completion_is_an_object(demo: Service, target: str) -> None:
    before = int(time.time())
    reply = complete(demo, target=target, max_tokens=50, tokens_per_second=10_000)
    assert reply.status == 200
    assert reply.headers['content-type'].startswith('application/json')
    answer = reply.json()
    assert answer['object'] == 'chat.completion'
    assert answer['model'] == 'shmstream-demo'
    assert answer['id'].startswith('chatcmpl-')
    assert before <= answer['created'] <= time.time()
    (choice,) = answer['choices']
    assert choice['index'] == 0
    assert choice['finish_reason'] == 'stop'
    assert choice['message']['role'] == 'assistant'
    assert choice['message']['content']
    usage = answer['usage']
    assert usage['completion_tokens'] == 50
    assert usage['total_tokens'] == usage['prompt_tokens'] + 50


def test_a_streamed_completion_is_events(demo: Service) -> None:
    reply = complete(demo, stream=True, max_tokens=50, tokens_per_second=10_000)
    assert reply.status == 200
    assert reply.headers['content-type'].startswith('text/event-stream')
    chunks = events(reply.body)
    assert {chunk['object'] for chunk in chunks} == {'chat.completion.chunk'}
    assert len({chunk['id'] for chunk in chunks}) == 1
    assert chunks[0]['choices'][0]['delta']['role'] == 'assistant'
    assert [c['choices'][0]['finish_reason'] for c in chunks] == [
        *[None] * (len(chunks) - 1),
        'stop',
    ]
    plain = complete(demo, max_tokens=50, tokens_per_second=10_000).json()
    assert text_of(chunks) == plain['choices'][0]['message']['content']


def test_it_says_what_it_is_and_counts(demo: Service) -> None:
    reply = complete(demo, stream=True, max_tokens=100, tokens_per_second=10_000)
    text = text_of(events(reply.body))
    assert 'demo model' in text
    assert 'not a language model' in text
    counted = [int(word) for word in text.split() if word.isdigit()]
    assert len(counted) > 50
    assert counted == list(range(1, len(counted) + 1))


def test_tokens_come_at_the_rate_asked_for(demo: Service) -> None:
    began = time.monotonic()
    complete(demo, stream=True, max_tokens=20, tokens_per_second=20)
    # The first comes at once. Not sooner is the promise; later, on a busy machine.
    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b'{',
        b'\xff\xfe',
        b'[' * 100_000,
        b'[]',
        b'null',
        b'{}',
        b'{"messages": null}',
        b'{"messages": "hello"}',
        b'{"messages": {}}',
        b'{"messages": [], "max_tokens": 0}',
        b'{"messages": [], "max_tokens": -1}',
        b'{"messages": [], "max_tokens": "many"}',
        b'{"messages": [], "max_tokens": true}',
        b'{"messages": [], "max_tokens": [1]}',
        b'{"messages": [], "max_tokens": 1e300}',
        b'{"messages": [], "max_tokens": 1' + b'0' * 400 + b'}',
        b'{"messages": [], "max_tokens": 1' + b'0' * 5000 + b'}',
        b'{"messages": [], "max_tokens": NaN}',
        b'{"messages": [], "max_tokens": Infinity}',
        b'{"messages": [], "max_completion_tokens": "1"}',
        b'{"messages": [], "tokens_per_second": 0}',
        b'{"messages": [], "tokens_per_second": NaN}',
        b'{"messages": [], "tokens_per_second": "fast"}',
    ],
    ids=range(24),
)
@pytest.mark.parametrize('conv_id', [None, 'bad'])
def test_a_bad_body_is_refused_and_leaves_no_session(
    demo: Service, body: bytes, conv_id: str | None
) -> None:
    client = demo.client()
    headers = {} if conv_id is None else {'X-Conversation-Id': conv_id}
    reply = client.call('POST', COMPLETIONS, body, headers)
    assert reply.status == 400
    error = reply.error
    assert error['code'] == 400
    assert error['message']
    assert error['type'] == 'invalid_request_error'
    assert client.lookup('bad') == []


def test_fractions_and_unknown_members_are_no_mistake(demo: Service) -> None:
    reply = complete(demo, max_tokens=2.0, temperature=0.7, model='x', n=1, stop=None)
    assert reply.status == 200
    assert reply.json()['usage']['completion_tokens'] == 2


def test_a_completion_that_is_not_streamed_is_no_session(demo: Service) -> None:
    assert complete(demo, conv_id='object').json()['object'] == 'chat.completion'
    assert demo.client().lookup('object') == []
    assert demo.client().get(path('object')).status == 404


@pytest.mark.parametrize(
    'target', ['/v1/images', '/v1/embeddings', '/nothing', '/v1', '/v1/streams']
)
def test_there_is_nothing_else(demo: Service, target: str) -> None:
    for method in ('GET', 'POST'):
        reply = demo.client().call(method, target, b'{}')
        assert reply.status == 404
        assert reply.error['type'] == 'not_found_error'


def test_completions_are_posted(demo: Service) -> None:
    reply = demo.client().get(COMPLETIONS)
    assert reply.status == 405
    assert 'POST' in reply.error['message']


@pytest.mark.parametrize('conv_id', [None, 'typed'])
def test_errors_of_the_model_look_like_all_others(
    demo: Service, conv_id: str | None
) -> None:
    assert_error(complete(demo, conv_id, max_tokens=0), 400, 'max_tokens')
    assert_error(demo.client().get('/nothing'), 404, '/nothing')


@pytest.mark.parametrize('target', ['/', '/_shmstream/'])
def test_there_is_a_page(demo: Service, target: str) -> None:
    reply = demo.client().get(target)
    assert reply.status == 200
    assert reply.headers['content-type'] == 'text/html; charset=utf-8'
    assert reply.headers['x-content-type-options'] == 'nosniff'
    # No page of elsewhere has it click.
    policy = reply.headers['content-security-policy']
    assert "frame-ancestors 'none'" in policy
    assert reply.body.lower().startswith(b'<!doctype html>')


@pytest.mark.parametrize('target', ['/', '/_shmstream/', '/healthz'])
def test_what_can_be_got_has_a_head(demo: Service, target: str) -> None:
    # Load balancers ask like this.
    head = ask(demo.port, f'HEAD {target}')
    assert (head.status, head.body) == (200, b'')


def test_every_worker_is_healthy(demo: Service) -> None:
    pids = demo.worker_pids()
    with one_per_worker(demo.port) as workers:
        healths = [pinned.call('GET', '/healthz') for pinned in workers]
    for pinned, reply in zip(workers, healths, strict=True):
        assert reply.status == 200
        assert reply.headers['content-type'] == JSON
        assert reply.headers['cache-control'] == 'no-store'
        health = reply.json()
        assert health['status'] == 'ok'
        assert health['worker']['pid'] == pinned.worker in pids
        assert health['supervisor']['pid'] not in pids
        assert 0 < health['room']['sessions'] <= 4096
        assert health['room']['bytes'] > 0
    assert len({reply.json()['supervisor']['pid'] for reply in healths}) == 1


def test_health_counts_the_room_that_is_left(demo: Service) -> None:
    client = demo.client()
    before = client.get('/healthz').json()['room']
    complete(demo, conv_id='room', stream=True)
    after = client.get('/healthz').json()['room']
    assert after['sessions'] == before['sessions'] - 1
    client.delete(path('room'))
    assert client.get('/healthz').json()['room']['sessions'] == before['sessions']
