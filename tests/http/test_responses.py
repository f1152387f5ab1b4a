"""OpenAI's Responses by their ids, with OpenAI's own client for Python."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.http.proxied import Feed, Proxied, proxied_service
from tests.http.test_openai_client import client_of, header
from tests.http.wire import Pinned, assert_error, one_per_worker
from tests.support.client import path
from tests.support.cutting import Cutting
from tests.support.leaks import wait_until
from tests.support.service import START_S, Service
from tests.support.upstream import Exchange

ASKED: dict[str, Any] = {'model': 'm', 'input': 'Count.', 'stream': True}
WORDS = 10


@pytest.fixture
def client(proxied: Proxied) -> Iterator[openai.OpenAI]:
    with client_of(proxied.service.port) as client:
        yield client


def event(number: int, kind: str, **fields: Any) -> bytes:
    data = json.dumps({'type': kind, 'sequence_number': number, **fields})
    return f'event: {kind}\ndata: {data}\n\n'.encode()


def state(response_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        'id': response_id,
        'object': 'response',
        'created_at': 17,
        'model': 'm',
        'status': status,
        'instructions': 'Be brief.',
        'output': [],
        'parallel_tool_calls': True,
        'tool_choice': 'auto',
        'tools': [],
        **more,
    }


def begun(response_id: str, status: str = 'queued') -> bytes:
    return event(0, 'response.created', response=state(response_id, status))


def word(number: int, text: str = '"sequence_number":3, ') -> bytes:
    return event(
        number,
        'response.output_text.delta',
        item_id='i',
        output_index=0,
        content_index=0,
        delta=text,
        logprobs=[],
    )


def over(number: int, response_id: str) -> bytes:
    done = state(response_id, 'completed', usage=None)
    return event(number, 'response.completed', response=done)


def whole(response_id: str, words: int = WORDS) -> bytes:
    """A response of which only the text of its words is left out."""
    deltas = map(word, range(1, words + 1))
    return begun(response_id) + b''.join(deltas) + over(words + 1, response_id)


def post(proxied: Proxied, feed: Feed, conv_id: str | None, **asked: Any) -> Any:
    headers = {'Content-Type': 'application/json'}
    if conv_id is not None:
        headers['X-Conversation-Id'] = conv_id
    body = json.dumps(ASKED | {'feed': feed.token} | asked).encode()
    return proxied.client.open('POST', '/v1/responses', body, headers)


def answered(proxied: Proxied, conv_id: str | None, data: bytes) -> None:
    """A response that has come to its end."""
    feed = proxied.feed(first=data)
    feed.end()
    with post(proxied, feed, conv_id) as live:
        assert live.rest() == data


def not_here(proxied: Proxied) -> None:
    """From now on the upstream knows of no response."""
    told = {'error': {'code': 404, 'message': 'Not of the upstream', 'type': 'x'}}
    body = json.dumps(told).encode()
    kind = ('Content-Type', 'application/json')
    proxied.script = lambda exchange: exchange.reply(404, body, kind)


def numbers(events: Any) -> list[int]:
    return [event.sequence_number for event in events]


def test_each_worker_goes_on_after_any_number(proxied: Proxied) -> None:
    data, response_id = whole('resp_1'), 'resp_1'
    answered(proxied, 'any-number', data)
    begins = [data.index(b'event: ')]
    while (found := data.find(b'\n\nevent: ', begins[-1])) >= 0:
        begins.append(found + 2)
    with one_per_worker(proxied.service.port) as workers:
        for pinned in workers:
            for number in [*range(WORDS + 1), WORDS + 1]:
                for target in (
                    f'/v1/responses/{response_id}?starting_after={number}&stream=true',
                    f'/responses/{response_id}?include_obfuscation=false&stream=true'
                    f'&starting_after={number}',
                ):
                    reply = pinned.call('GET', target)
                    rest = data[[*begins, len(data)][number + 1] :]
                    assert (reply.status, reply.body) == (200, rest)
                    assert reply.headers['stream-worker'] == str(pinned.worker)
                    assert reply.headers['content-length'] == str(len(rest))
            reply = pinned.call('GET', f'/v1/responses/{response_id}?stream=true')
            assert reply.body == data


@pytest.mark.parametrize(
    ('number', 'message'),
    [
        ('', 'not a plain number'),
        ('-1', 'not a plain number'),
        ('1.0', 'not a plain number'),
        ('9223372036854775808', 'not a plain number'),
        ('9' * 30, 'not a plain number'),
        ('99', 'no event 99 so far'),
    ],
)
def test_what_no_event_can_have_is_refused(
    proxied: Proxied, number: str, message: str
) -> None:
    answered(proxied, 'refused', whole('resp_refused'))
    target = f'/v1/responses/resp_refused?stream=true&starting_after={number}'
    assert_error(proxied.client.get(target), 400, message)


def test_a_response_that_was_cut_is_resumed_live(
    proxied: Proxied, client: openai.OpenAI
) -> None:
    """1. Its client leaves after some events. 2. It resumes, twice, to the end."""
    feed = proxied.feed(first=begun('resp_live') + word(1) + word(2))
    stream = client.responses.create(
        **ASKED, extra_headers=header('live'), extra_body={'feed': feed.token}
    )
    with stream:
        first = [next(stream).sequence_number for _ in range(3)]
    response = client.responses.retrieve('resp_live')
    assert (response.status, response.instructions) == ('queued', 'Be brief.')
    going_on = event(3, 'response.in_progress', response=state('resp_live', 'x'))
    feed.send(going_on)
    with client.responses.retrieve('resp_live', stream=True, starting_after=1) as rest:
        second = [next(rest).sequence_number for _ in range(2)]
        feed.send(word(4))
        second.append(next(rest).sequence_number)
    with client.responses.retrieve('resp_live', stream=True, starting_after=4) as rest:
        feed.send(word(5) + over(6, 'resp_live'))
        feed.end()
        assert [first, second, numbers(rest)] == [[0, 1, 2], [2, 3, 4], [5, 6]]
    assert client.responses.retrieve('resp_live').status == 'completed'


def test_a_lost_connection_is_an_error_and_what_is_missing_is_there(
    proxied: Proxied,
) -> None:
    feed = proxied.feed(first=whole('resp_cut'))
    feed.end()
    got: list[int] = []
    with (
        Cutting(proxied.service.port, b'}\n\n', 4, 3) as relay,
        client_of(relay.port) as client,
    ):
        stream = client.responses.create(
            **ASKED, extra_headers=header('cut'), extra_body={'feed': feed.token}
        )
        with stream, pytest.raises(openai.APIConnectionError):
            got.extend(event.sequence_number for event in stream)
        while got[-1] <= WORDS:
            try:
                with client.responses.retrieve(
                    'resp_cut', stream=True, starting_after=got[-1]
                ) as rest:
                    got.extend(event.sequence_number for event in rest)
            except openai.APIConnectionError:
                continue
    assert got == list(range(WORDS + 2))
    assert len(relay.requests) == 3


def test_the_clients_helper_filters_for_itself(demo: Service) -> None:
    with client_of(demo.port) as client:
        events = list(
            client.responses.create(
                **ASKED, max_output_tokens=20, extra_headers=header('helper')
            )
        )
        created = events[0]
        assert created.type == 'response.created'
        with client.responses.stream(
            response_id=created.response.id, starting_after=4
        ) as stream:
            assert numbers(stream) == numbers(events)[5:]
            assert stream.get_final_response().status == 'completed'
        final = client.responses.retrieve(created.response.id)
        assert 'not a language model' in final.output_text


def test_a_failure_is_an_exception_for_all_of_them(
    proxied: Proxied, client: openai.OpenAI
) -> None:
    going_on = event(1, 'response.in_progress', response=state('resp_failed', 'x'))
    feed = proxied.feed(first=begun('resp_failed') + going_on)
    feed.break_off()
    with post(proxied, feed, 'failed') as live:
        live.rest()
    for after, seen in ((0, [1]), (1, [])):
        got: list[int] = []
        rest = client.responses.retrieve(
            'resp_failed', stream=True, starting_after=after
        )
        with rest, pytest.raises(openai.APIError, match='broke off'):
            got.extend(event.sequence_number for event in rest)
        assert got == seen
    with (
        client.responses.stream(response_id='resp_failed') as stream,
        pytest.raises(openai.APIError, match='broke off'),
    ):
        list(stream)
    response = client.responses.retrieve('resp_failed')
    assert response.status == 'failed'
    assert response.error is not None
    assert 'broke off' in response.error.message


def test_cancel_stops_it_and_keeps_what_was_written(
    proxied: Proxied, client: openai.OpenAI
) -> None:
    feed = proxied.feed(first=begun('resp_stopped', 'in_progress') + word(1))
    with post(proxied, feed, 'stopped') as live:
        live.until(10)
        for _ in range(2):
            response = client.responses.cancel('resp_stopped')
            assert (response.status, response.model) == ('cancelled', 'm')
        assert feed.hung_up()
        assert b'response.incomplete' in live.rest()
    assert client.responses.retrieve('resp_stopped').status == 'cancelled'
    with client.responses.retrieve('resp_stopped', stream=True) as events:
        kinds = [event.type for event in events]
    assert kinds[0] == 'response.created'
    assert kinds[-1] == 'response.incomplete'
    # One that is over is as it was.
    answered(proxied, 'over', whole('resp_over'))
    assert client.responses.cancel('resp_over').status == 'completed'


def test_a_cancel_of_a_response_in_the_background_goes_upstream_as_well(
    proxied: Proxied, client: openai.OpenAI
) -> None:
    """Or the upstream would go on generating."""
    data = event(
        0,
        'response.created',
        response=state('resp_behind', 'in_progress', background=True),
    )
    feed = proxied.feed(first=data)
    asked: list[str] = []

    def cancelled(exchange: Exchange) -> None:
        asked.append(f'{exchange.method} {exchange.target}')
        body = json.dumps(state('resp_behind', 'cancelled', model='of the upstream'))
        kind = ('Content-Type', 'application/json')
        exchange.reply(200, body.encode(), kind)

    proxied.script = cancelled
    with post(proxied, feed, 'behind') as live:
        live.until(10)
        response = client.responses.cancel('resp_behind')
        assert (response.status, response.model) == ('cancelled', 'of the upstream')
        assert feed.hung_up()
        assert b'response.incomplete' in live.rest()
    assert asked == ['POST /v1/responses/resp_behind/cancel']
    assert client.responses.retrieve('resp_behind').status == 'cancelled'


def test_an_id_that_is_unknown_goes_upstream(proxied: Proxied) -> None:
    seen: list[tuple[str, str, bytes]] = []

    def echo(exchange: Exchange) -> None:
        seen.append((exchange.method, exchange.target, exchange.body))
        exchange.reply(200, b'{"of": "the upstream"}')

    proxied.script = echo
    asked = [
        ('GET', '/v1/responses/resp_x', b''),
        ('GET', '/v1/responses/resp_x?stream=true&starting_after=x', b''),
        ('GET', '/v1/responses/a%2Fb', b''),
        ('GET', '/v1/responses/' + 'x' * 441, b''),
        ('POST', '/v1/responses/resp_x/cancel', b'{}'),
    ]
    answered(proxied, 'mine', whole('resp_mine'))
    # And what is no route of these, although the id is known.
    asked += [
        ('DELETE', '/v1/responses/resp_mine', b''),
        ('POST', '/v1/responses/resp_mine', b'{}'),
        ('GET', '/v1/responses/resp_mine/cancel', b''),
        ('GET', '/v1/responses/resp_mine/input_items', b''),
        ('GET', '/v1/responses/', b''),
    ]
    for method, target, body in asked:
        reply = proxied.client.call(method, target, body)
        assert (reply.status, reply.body) == (200, b'{"of": "the upstream"}')
    assert seen == asked


def test_the_id_goes_with_its_stream(proxied: Proxied, client: openai.OpenAI) -> None:
    not_here(proxied)
    answered(proxied, 'turns', whole('resp_turn_1'))
    assert client.responses.retrieve('resp_turn_1').id == 'resp_turn_1'
    answered(proxied, 'turns', whole('resp_turn_2'))
    assert client.responses.retrieve('resp_turn_2').id == 'resp_turn_2'
    with pytest.raises(openai.NotFoundError, match='Not of the upstream'):
        client.responses.retrieve('resp_turn_1')
    assert proxied.client.delete(path('turns')).status == 204
    with pytest.raises(openai.NotFoundError, match='Not of the upstream'):
        client.responses.retrieve('resp_turn_2', stream=True)


def test_what_the_ring_has_dropped_is_lost(
    proxied: Proxied, client: openai.OpenAI
) -> None:
    """The ring has 64 KiB."""
    count = 600
    data = begun('resp_long')
    data += b''.join(word(number, 'x' * 50) for number in range(1, count + 1))
    data += over(count + 1, 'resp_long')
    answered(proxied, 'long', data)
    (found,) = proxied.client.lookup('long')
    dropped = found['dropped_prefix']
    assert dropped == len(data) - 65536
    for target in ('?stream=true', '?stream=true&starting_after=1'):
        lost = proxied.client.get('/v1/responses/resp_long' + target)
        error = assert_error(lost, 400, 'offset lost')
        assert (error['dropped_prefix'], error['total_bytes']) == (dropped, len(data))
    begin = data.index(b'event: ', dropped)
    first = json.loads(data[begin:].split(b'\n')[1][6:])['sequence_number']
    for number in (first - 1, first, count):
        with client.responses.retrieve(
            'resp_long', stream=True, starting_after=number
        ) as rest:
            assert numbers(rest) == list(range(number + 1, count + 2))
    assert client.responses.retrieve('resp_long').status == 'completed'


def test_a_long_response_that_goes_on_has_an_object_all_the_same(
    proxied: Proxied, client: openai.OpenAI
) -> None:
    data = begun('resp_lapped') + b''.join(word(n, 'x' * 900) for n in range(1, 100))
    feed = proxied.feed(first=data)
    with post(proxied, feed, 'lapped') as live:
        live.until(len(data))
        response = client.responses.retrieve('resp_lapped')
        assert (response.id, response.status) == ('resp_lapped', 'in_progress')
        assert client.responses.cancel('resp_lapped').status == 'cancelled'


def test_without_a_conversation_id_there_is_none(demo: Service) -> None:
    with client_of(demo.port) as client:
        events = list(client.responses.create(**ASKED, max_output_tokens=5))
        created = events[0]
        assert created.type == 'response.created'
        with pytest.raises(openai.NotFoundError, match='demo model'):
            client.responses.retrieve(created.response.id)


def test_unless_a_setting_says_so(proxy: Callable[..., Proxied]) -> None:
    proxied = proxy(workers=2, ID_FROM='header:X-Conversation-Id, response:id')
    data = whole('resp_own')
    answered(proxied, None, data)
    answered(proxied, 'named', whole('resp_named'))
    assert proxied.client.get('/v1/responses/resp_own?stream=true').body == data
    assert proxied.client.get(path('named')).body == whole('resp_named')
    feed = proxied.feed(first=data)
    feed.end()
    with post(proxied, feed, None) as live:
        address = live.headers['content-location']
        assert address.startswith('/v1/stream/response-')
        live.rest()
    assert proxied.client.get(address).body == data
    # An answer that is no stream, and what is no response, are as they were.
    proxied.script = lambda exchange: exchange.reply(200, b'{}')
    body = json.dumps(ASKED | {'stream': False}).encode()
    kind = {'Content-Type': 'application/json'}
    for target in ('/v1/responses', '/v1/responses?x=1'):
        reply = proxied.client.call('POST', target, body, kind)
        assert (reply.body, 'stream-generation' in reply.headers) == (b'{}', False)
    feed = proxied.feed(first=b'data: x\n\n')
    feed.end()
    with proxied.client.post(None, {'feed': feed.token}) as live:
        assert 'stream-generation' not in live.headers
        live.rest()


def test_it_is_found_whoever_is_killed(tmp_path: Path) -> None:
    """1. The supervisor. 2. A reload. 3. The worker that writes it."""
    with proxied_service(tmp_path / 'killed.log') as proxied:
        service = proxied.service
        feed = proxied.feed(first=begun('resp_killed') + word(1))
        with post(proxied, feed, 'killed') as live, client_of(service.port) as client:
            live.until(10)
            os.kill(service.supervisors()[0], signal.SIGKILL)
            retrying = client.with_options(max_retries=10)
            assert retrying.responses.retrieve('resp_killed').status == 'queued'
            before = set(service.worker_pids())
            service.signal(signal.SIGHUP)

            def reloaded() -> bool:
                fresh = set(service.worker_pids()) - before
                return len(fresh) == 3 and service.text().count('listening') >= 6

            assert wait_until(reloaded, START_S)
            rest = retrying.responses.retrieve(
                'resp_killed', stream=True, starting_after=0
            )
            while int(rest.response.headers['stream-worker']) in before:
                # One that leaves takes connections for a moment, and cuts them.
                rest.close()
                rest = retrying.responses.retrieve(
                    'resp_killed', stream=True, starting_after=0
                )
            with rest:
                assert next(rest).sequence_number == 1
                feed.send(word(2))
                assert next(rest).sequence_number == 2
                os.kill(live.worker, signal.SIGKILL)
                with pytest.raises(openai.APIError, match='died'):
                    next(rest)
            response = retrying.responses.retrieve('resp_killed')
            assert response.status == 'failed'


def test_who_waits_on_one_connection_is_not_held_up(proxied: Proxied) -> None:
    """A replay ends as a body should, so the connection serves what comes next."""
    answered(proxied, 'again', whole('resp_again'))
    with Pinned(proxied.service.port) as pinned:
        for target in ('', '?stream=true', '?stream=true&starting_after=99', ''):
            reply = pinned.call('GET', '/v1/responses/resp_again' + target)
            assert reply.whole
            assert reply.status == (400 if target.endswith('99') else 200)
