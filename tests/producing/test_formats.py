"""How the items of a source look on the wire, in each format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, Field

from shmstream import Format, LocalError, SseEvent, Streams, encoded
from shmstream.producing.failures import NotEncodable
from shmstream.producing.formats import FORMATS, format_of

DONE = b'data: [DONE]\n\n'


@dataclass
class Point:
    x: int
    y: int


class Model(BaseModel):
    kind: str = 'point'
    from_: int | None = Field(default=None, alias='from')


CHUNK = {
    'id': 'c',
    'object': 'chat.completion.chunk',
    'created': 1,
    'model': 'm',
    'choices': [{'index': 0, 'delta': {'content': 'Hi'}, 'finish_reason': None}],
}


def streamed(
    streams: Streams,
    conv_id: str,
    items: Iterable[Any],
    format: str | Format = 'sse',
) -> bytes:
    """What a source of these items makes of a stream that has ended well."""
    started = streams.start_in_thread(conv_id, items, format=format)
    data = b''.join(started.follow())
    assert started.consumer.state.label == 'complete', data
    return data


@pytest.mark.parametrize(
    ('item', 'event'),
    [
        ('text', b'data: text\n\n'),
        ('', b'data: \n\n'),
        (' a\nb\r\nc\rd', b'data:  a\ndata: b\ndata: c\ndata: d\n\n'),
        ({'a': ['ü', None]}, 'data: {"a":["ü",null]}\n\n'.encode()),
        ({'half': '\ud800'}, b'data: {"half": "\\ud800"}\n\n'),
        (Point(1, 2), b'data: {"x":1,"y":2}\n\n'),
        ({'at': Point(1, 2)}, b'data: {"at":{"x":1,"y":2}}\n\n'),
        (Model(), b'data: {"kind":"point","from":null}\n\n'),
        ([Model()], b'data: [{"kind":"point","from":null}]\n\n'),
        (SseEvent('a\nb', 'n', 'i'), b'event: n\ndata: a\ndata: b\nid: i\n\n'),
        (SseEvent({'a': 1}, retry_ms=5), b'retry: 5\ndata: {"a":1}\n\n'),
        (b'event: x\ndata: y\n\n', b'event: x\ndata: y\n\n'),
        (bytearray(b'data: y\n\n'), b'data: y\n\n'),
    ],
)
def test_an_item_as_a_server_sent_event(
    streams: Streams, conv_id: str, item: object, event: bytes
) -> None:
    assert streamed(streams, conv_id, [item, item]) == event * 2


def test_what_openai_s_client_yields_is_what_came(
    streams: Streams, conv_id: str
) -> None:
    """Without the members that did not come, and with the end that it swallows."""
    chunk = ChatCompletionChunk.model_validate(CHUNK)
    data = streamed(streams, conv_id, [chunk])
    event, end = data.split(b'\n\n', 1)
    assert json.loads(event.removeprefix(b'data: ')) == CHUNK
    assert end == DONE


@pytest.mark.parametrize('last', [[], [DONE]])
def test_an_end_is_said_once(streams: Streams, conv_id: str, last: list[bytes]) -> None:
    data = streamed(streams, conv_id, [CHUNK, *last])
    assert data.count(DONE) == 1
    assert data.endswith(DONE)


def test_langgraph_s_end_is_said(streams: Streams, conv_id: str) -> None:
    items = [SseEvent({'run_id': 'r'}, name='metadata'), SseEvent([1], name='values')]
    assert streamed(streams, conv_id, items).endswith(b'event: end\ndata: null\n\n')


def test_json_lines(streams: Streams, conv_id: str) -> None:
    items = ['a\nb', {'b': 'ü'}, Point(1, 2), b'{"c":', b'3}\n']
    assert streamed(streams, conv_id, items, 'jsonl').decode() == (
        '"a\\nb"\n{"b":"ü"}\n{"x":1,"y":2}\n{"c":3}\n'
    )


def chunks(data: bytes) -> list[Any]:
    """The chunks of a UI message stream, without ``[DONE]``."""
    assert data.endswith(DONE)
    events = data.removesuffix(DONE).split(b'\n\n')[:-1]
    return [json.loads(event.removeprefix(b'data: ')) for event in events]


def test_texts_as_a_ui_message_stream(streams: Streams, conv_id: str) -> None:
    started = streams.start_in_thread(conv_id, ['Hel', '', 'lo'], format='ui')
    assert started.headers['x-vercel-ai-ui-message-stream'] == 'v1'
    assert started.headers['content-type'] == 'text/event-stream'
    assert chunks(b''.join(started.follow())) == [
        {'type': 'start'},
        {'type': 'text-start', 'id': 'shmstream-1'},
        {'type': 'text-delta', 'id': 'shmstream-1', 'delta': 'Hel'},
        {'type': 'text-delta', 'id': 'shmstream-1', 'delta': 'lo'},
        {'type': 'text-end', 'id': 'shmstream-1'},
        {'type': 'finish'},
    ]


class Custom(BaseModel):
    type: str = 'data-custom'
    data: dict[str, int] | None = None
    transient: bool | None = None


def test_chunks_of_a_ui_message_stream_between_texts(
    streams: Streams, conv_id: str
) -> None:
    """The AI SDK refuses a null where a member may be left out."""
    items = [{'type': 'start', 'messageId': 'm'}, 'a', Custom(data={'n': 1}), 'b']
    found = chunks(streamed(streams, conv_id, items, 'ui'))
    assert [chunk['type'] for chunk in found] == [
        *('start', 'text-start', 'text-delta', 'text-end', 'data-custom'),
        *('text-start', 'text-delta', 'text-end', 'finish'),
    ]
    assert found[4] == {'type': 'data-custom', 'data': {'n': 1}}
    assert found[1]['id'] != found[5]['id']


def test_the_end_of_pydantic_ai_is_said_as_the_ai_sdk_knows_it(
    streams: Streams, conv_id: str
) -> None:
    """Its last chunk is no chunk of the protocol: readers of it would fail."""
    items = [{'type': 'start'}, {'type': 'finish'}, Custom(type='done')]
    data = streamed(streams, conv_id, items, 'ui')
    assert chunks(data) == [{'type': 'start'}, {'type': 'finish'}]
    assert data.count(DONE) == 1


@pytest.mark.parametrize(
    ('last', 'more'),
    [
        ([], 'data: {"type":"finish"}\n\n'),
        ([{'type': 'finish', 'finishReason': 'stop'}], ''),
        ([b'data: {"type":"finish"}\n\n', DONE], ''),
    ],
)
def test_what_a_ui_source_says_itself_is_not_said_again(
    streams: Streams, conv_id: str, last: list[Any], more: str
) -> None:
    begin = b'data: {"type":"start"}\n\n'
    data = streamed(streams, conv_id, [begin, *last], 'ui').decode()
    assert data.count('"start"') == data.count('"finish"') == 1
    assert data.count('[DONE]') == 1
    assert data.endswith(f'{more}data: [DONE]\n\n')


def test_an_empty_source_is_a_whole_stream(streams: Streams, conv_id: str) -> None:
    assert streamed(streams, conv_id, []) == b''
    assert streamed(streams, conv_id, [], 'jsonl') == b''
    found = chunks(streamed(streams, conv_id, [], 'ui'))
    assert [chunk['type'] for chunk in found] == ['start', 'finish']


def test_a_source_may_encode_its_stream_itself(streams: Streams, conv_id: str) -> None:
    format = encoded('text/plain; charset=utf-8')
    started = streams.start_in_thread(conv_id, ['ü', b'\x00'], format=format)
    assert started.content_type == 'text/plain; charset=utf-8'
    assert b''.join(started.follow()) == 'ü'.encode() + b'\0'
    # Of server-sent events only whole ones enter, and the last one is made whole.
    events = ['data: ', 'a\n', '\ndata: b']
    data = streamed(streams, conv_id, events, encoded('text/event-stream'))
    assert data == b'data: a\n\ndata: b\n\n'


@pytest.mark.parametrize(
    ('format', 'item'),
    [
        ('sse', object()),
        ('sse', {'a': object()}),
        ('sse', float('nan')),
        ('sse', '\ud800'),
        ('jsonl', {1, 2}),
        ('ui', SseEvent('a')),
        ('sse', Model),
    ],
)
def test_what_a_format_cannot_say_is_refused(format: str, item: object) -> None:
    with pytest.raises(NotEncodable, match='the source yielded'):
        FORMATS[format]._encoder().encode(item)


def test_texts_only_are_encoded_already() -> None:
    with pytest.raises(NotEncodable, match='a dict, not text or bytes'):
        encoded('text/plain')._encoder().encode({})


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        *(('name', 'a\nb'), ('name', 'x' * 1025), ('id', 'a\0'), ('id', '\r')),
        *(('retry_ms', -1), ('retry_ms', 1.5), ('retry_ms', True)),
    ],
)
def test_a_field_of_an_event_has_limits(name: str, value: Any) -> None:
    with pytest.raises(LocalError, match='must be'):
        SseEvent('a', **{name: value})


@pytest.mark.parametrize(
    'kind', ['', 'text', 'a/b\r\nx: y', 'text/' + 'x' * 256, 'ü/a']
)
def test_a_content_type_has_a_form(kind: str) -> None:
    with pytest.raises(LocalError, match='a content type is like'):
        encoded(kind)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(LocalError, match='format must be sse, jsonl, ui or'):
        format_of('xml')
