"""Looking up, from the request's body to the reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shmstream import Streams, SupervisorUnavailable, owner_of
from shmstream.ids import NOBODY
from shmstream.serving.lookup import MAX_IDS, asked_ids, look_up
from shmstream.serving.problems import Problem
from shmstream.serving.reply import Blocking, Reply


def body(*ids: Any) -> bytes:
    return json.dumps({'conversation_ids': ids}).encode()


def found(streams: Streams, asked: bytes, owner: bytes = NOBODY) -> list[Any]:
    """What a look-up finds."""
    reply = look_up(streams, asked, owner)
    if isinstance(reply, Blocking):
        reply = reply.work()
    assert isinstance(reply.body, bytes)
    headers = dict(reply.headers)
    assert reply.status == 200
    assert headers[b'content-length'] == b'%d' % len(reply.body)
    assert headers[b'cache-control'] == b'no-store'
    result: list[Any] = json.loads(reply.body)
    return result


def test_what_is_found_is_described(streams: Streams, conv_id: str) -> None:
    with streams.create(f'{conv_id}::m') as producer:
        producer.write(b'12345')
    (one,) = found(streams, body('nobody', conv_id))
    assert one['conversation_id'] == f'{conv_id}::m'
    assert (one['is_done'], one['total_bytes']) == (True, 5)
    assert found(streams, body(conv_id), owner_of('alice')) == []


def test_who_asks_for_nothing_is_answered_at_once(streams: Streams) -> None:
    for asked in (b'{}', body(), body('', 1, None, 'x' * 513, '\x00')):
        assert isinstance(look_up(streams, asked, NOBODY), Reply)
        assert found(streams, asked) == []


def test_each_id_is_asked_for_once() -> None:
    assert asked_ids(body('D', 'D::m', 'D', None, 'D::m')) == ['D', 'D::m']


@pytest.mark.parametrize(
    ('asked', 'status'),
    [
        (b'', 400),
        (b'\xff', 400),
        (b'[]', 400),
        (b'{"conversation_ids": {}}', 400),
        (b'[' * 100_000, 400),
        (body(*range(MAX_IDS + 1)), 413),
    ],
)
def test_what_is_no_such_body_is_refused(
    streams: Streams, asked: bytes, status: int
) -> None:
    with pytest.raises(Problem) as raised:
        asked_ids(asked)
    assert raised.value.status == status
    reply = look_up(streams, asked, NOBODY)
    assert isinstance(reply, Reply)
    assert reply.status == status


def test_without_a_supervisor_it_is_503(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SupervisorUnavailable('nobody answers')

    monkeypatch.setattr(Streams, 'lookup', fail)
    answer = look_up(streams, body('c'), NOBODY)
    assert isinstance(answer, Blocking)
    reply = answer.work()
    assert reply.status == 503
    assert dict(reply.headers)[b'retry-after'] == b'2'
