"""A source that fails in mid-stream: told in the stream's own language, and logged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from shmstream import Format, SourceFailed, Started, State, Streams, encoded
from tests.api.following import on_loop

SECRET = 'postgres://user:secret@db'


def in_thread(error: BaseException, *items: Any) -> Callable[[Any], Iterator[Any]]:
    def source(_: object) -> Iterator[Any]:
        yield from items
        raise error

    return source


async def on_a_loop(error: BaseException, *items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item
    await asyncio.sleep(0)
    raise error


Fails = Callable[..., tuple[bytes, Started]]


@pytest.fixture(params=['thread', 'task'])
def fails(request: pytest.FixtureRequest, streams: Streams, conv_id: str) -> Fails:
    """Run a source that yields items and raises, to the end of its stream."""

    def run(
        error: BaseException, *items: Any, format: str | Format = 'sse'
    ) -> tuple[bytes, Started]:
        async def work() -> tuple[bytes, Started]:
            if request.param == 'task':
                source: Any = on_a_loop(error, *items)
            else:
                source = in_thread(error, *items)
            started = await streams.start(conv_id, source, format=format)
            data = b''.join([chunk async for chunk in started.follow()])
            assert await started.ajoin(20)
            return data, started

        result: tuple[bytes, Started] = on_loop(work)
        return result

    return run


CHUNK = {'object': 'chat.completion.chunk', 'choices': [{'index': 0, 'delta': {}}]}


@pytest.mark.parametrize(
    ('format', 'item'),
    [('sse', 'a'), ('sse', CHUNK), ('ui', 'a'), (encoded('text/event-stream'), 'a: b')],
    ids=['sse', 'chat', 'ui', 'encoded'],
)
def test_a_failure_is_the_last_event(
    fails: Fails, format: str | Format, item: Any, caplog: pytest.LogCaptureFixture
) -> None:
    data, started = fails(ValueError(SECRET), item, format=format)
    name, told = data.split(b'\n\n')[-2].split(b'\n')
    assert name == b'event: error'
    assert json.loads(told.removeprefix(b'data: '))['errorText'] == (
        'the source failed: ValueError'
    )
    assert SECRET.encode() not in data
    assert SECRET in caplog.text
    assert started.consumer.state is State.ABORTED
    assert b'[DONE]' not in data


def test_a_failure_of_json_lines_is_a_line(fails: Fails) -> None:
    data, started = fails(ValueError(SECRET), 'a', format='jsonl')
    assert data == b'"a"\n{"error": "the source failed: ValueError"}\n'
    assert started.consumer.state is State.ABORTED


def test_a_failure_that_cannot_be_told_cuts_the_response(fails: Fails) -> None:
    data, started = fails(ValueError(SECRET), 'a', format=encoded('text/plain'))
    assert data == b'a'
    assert started.consumer.untold_failure == 'the source failed: ValueError'


def test_a_source_may_say_what_is_told(fails: Fails) -> None:
    data, _ = fails(SourceFailed('the model is busy'), 'a', format='jsonl')
    assert data == b'"a"\n{"error": "the model is busy"}\n'


def test_an_unfinished_event_is_dropped(fails: Fails) -> None:
    data, _ = fails(ValueError(), b'data: a\n\nda', b'ta: b')
    assert data.startswith(b'data: a\n\nevent: error\n')


def test_a_failure_after_the_end_is_none(fails: Fails) -> None:
    data, started = fails(ValueError(SECRET), 'a', b'data: [DONE]\n\n')
    assert data == b'data: a\n\ndata: [DONE]\n\n'
    assert started.consumer.state is State.COMPLETE


def test_what_no_format_can_say_is_a_failure(fails: Fails) -> None:
    data, started = fails(ValueError(), 'a', object(), format='jsonl')
    assert data.startswith(b'"a"\n{"error": "the source yielded a object that is no')
    assert started.consumer.state is State.ABORTED


def test_an_event_that_is_larger_than_the_ring_is_a_failure(fails: Fails) -> None:
    data, started = fails(ValueError(), 'a', 'x' * 70_000, format='jsonl')
    assert data == (
        b'"a"\n{"error": "the source yielded an event of 70003 bytes; the ring of this'
        b' stream holds 65536 (SHMSTREAM_SESSION_BYTES)"}\n'
    )
    assert started.consumer.state is State.ABORTED
