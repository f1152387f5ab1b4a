"""The core asks any deployment that has the methods it needs, not ``Streams`` only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shmstream import Consumer, StreamNotFound, Streams
from shmstream.ids import NOBODY
from shmstream.serving.get_head_delete import Core, from_the_beginning
from shmstream.serving.lookup import look_up
from shmstream.serving.reply import Blocking, Live, Reply
from shmstream.serving.request import Request


class Elsewhere:
    """A deployment that is somewhere else, as far as the core knows it."""

    def __init__(self, there: dict[str, Consumer]) -> None:
        self.there = there
        self.leaves = False

    def open(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> Consumer:
        try:
            return self.there[conv_id]
        except KeyError:
            raise StreamNotFound from None

    def evict(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        return self.there.pop(conv_id, None) is not None

    def stop(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        return conv_id in self.there

    def lookup(
        self, conv_ids: list[str], *, owner: bytes = NOBODY
    ) -> list[dict[str, Any]]:
        return [{'conversation_id': each} for each in conv_ids if each in self.there]

    def leaving(self) -> bool:
        return self.leaves


@pytest.fixture
def elsewhere(streams: Streams, conv_id: str) -> Elsewhere:
    with streams.create(conv_id) as producer:
        producer.write(b'1')
    return Elsewhere({'a': streams.open(conv_id)})


def reply_to(elsewhere: Elsewhere, method: str, target: bytes) -> Reply:
    reply = Core(elsewhere).answer(Request(method, target))
    if isinstance(reply, Blocking):
        reply = reply.work()
    assert isinstance(reply, Reply)
    return reply


def test_the_core_reads_and_stops_the_streams_of_any_deployment(
    elsewhere: Elsewhere,
) -> None:
    assert reply_to(elsewhere, 'GET', b'a').body == b'1'
    assert reply_to(elsewhere, 'GET', b'b').status == 404
    assert reply_to(elsewhere, 'DELETE', b'a').status == 204
    assert reply_to(elsewhere, 'GET', b'a').status == 404


def test_a_look_up_asks_any_deployment(elsewhere: Elsewhere) -> None:
    asked = look_up(elsewhere, b'{"conversation_ids": ["a", "b"]}', NOBODY)
    assert isinstance(asked, Blocking)
    body = asked.work().body
    assert isinstance(body, bytes)
    assert json.loads(body) == [{'conversation_id': 'a'}]


def test_the_request_that_made_a_stream_is_answered_with_all_of_it(
    streams: Streams, conv_id: str
) -> None:
    with streams.create(conv_id, content_type='text/plain') as producer:
        producer.write(b'12')
        leaving: list[bool] = [False]
        reply = from_the_beginning(streams.consumer_of(producer), lambda: leaving[0])
        headers = dict(reply.headers)
        assert (reply.status, headers[b'stream-state']) == (200, b'live')
        assert headers[b'content-type'] == b'text/plain'
        assert headers[b'stream-generation'] == producer.generation.encode()
        assert b'content-length' not in headers
        assert isinstance(reply.body, Live)
        with reply.body.follow() as follower:
            assert next(follower) == b'12'
            producer.write(b'3')
            producer.finish()
            assert b''.join(follower) == b'3'
