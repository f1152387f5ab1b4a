"""A refusal of a HEAD, and a ``permit`` that returns what is no owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from shmstream import Streams
from shmstream.answers.asgi import AsgiAnswers
from shmstream.answers.beginning import Beginning
from shmstream.answers.wsgi import WsgiAnswers
from shmstream.serving import refusal
from shmstream.serving.request import Request
from tests.api.following import on_loop

LOOK_UP = b'{"conversation_ids": ["a"]}'


class Source:
    """Notes that it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[str]:
        yield 'one'

    def close(self) -> None:
        self.closed = True


async def text() -> bytes:
    return LOOK_UP


def test_a_wrong_owner_is_the_applications_mistake(
    streams: Streams, conv_id: str
) -> None:
    """Whatever is asked for, on an event loop and in a thread."""
    looped, in_thread = Source(), Source()
    blocking = WsgiAnswers(streams, lambda _: b'alice', None)

    async def work() -> list[int]:
        answers = AsgiAnswers(streams, lambda _: b'alice', None)
        beginning = Beginning(conv_id, looped, 'sse', None)
        replies = [
            await answers.reply(Request('GET', conv_id.encode()), None),
            await answers.reply(Request('DELETE', conv_id.encode()), None),
            await answers.begin(beginning, Request('POST', b''), None, None),
            await answers.look_up(text, Request('POST', b''), None),
        ]
        return [reply.status for reply in replies]

    assert on_loop(work) == [500] * 4
    beginning = Beginning(conv_id, in_thread, 'sse', None)
    replies = [
        blocking.read_or_stop(Request('GET', conv_id.encode()), None),
        blocking.begin(beginning, Request('POST', b''), None, None),
        blocking.look_up(LOOK_UP, Request('POST', b''), None),
    ]
    assert [reply.status for reply in replies] == [500] * 3
    assert looped.closed
    assert in_thread.closed


def test_the_refusal_of_a_head_has_no_body(streams: Streams, conv_id: str) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def work() -> None:
        answers = AsgiAnswers(streams, lambda _: refusal(401, 'Who are you?'), None)
        scope = {'type': 'http', 'method': 'HEAD', 'headers': []}
        request = Request('HEAD', conv_id.encode())
        await answers.read_or_stop(request, None, scope, receive, send)

    on_loop(work)
    assert sent[0]['status'] == 401
    assert b''.join(message.get('body', b'') for message in sent) == b''
