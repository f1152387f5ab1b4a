"""What an answer speaks, and when it is over."""

from __future__ import annotations

import json

import pytest

from shmstream.dialects import table
from shmstream.dialects.incoming import Incoming
from tests.dialects.samples import (
    ANTHROPIC,
    CHAT,
    EVENTS,
    LINES,
    NDJSON,
    OLLAMA,
    RECORDS,
    RESPONSES,
    SAMPLES,
    SSE,
    UI,
    Sample,
    event,
    line,
)

samples = pytest.mark.parametrize('sample', SAMPLES.values(), ids=SAMPLES)


def incoming_for(sample: Sample) -> Incoming:
    return Incoming(sample.content_type, sample.headers)


@samples
@pytest.mark.parametrize('size', [1, 7, 100_000])
def test_a_dialect_is_recognised_and_so_is_its_end(sample: Sample, size: int) -> None:
    incoming = incoming_for(sample)
    got = b''
    for at in range(0, len(sample.begun), size):
        got += incoming.feed(sample.begun[at : at + size])
    assert got == sample.begun
    assert incoming.dialect is sample.dialect
    assert not incoming.over
    for at in range(0, len(sample.end), size):
        got += incoming.feed(sample.end[at : at + size])
    assert got == sample.begun + sample.end
    assert incoming.complete == bool(sample.end)
    assert incoming.over == (bool(sample.end) and not sample.dialect.only_last)


@samples
def test_a_dialect_is_known_after_its_second_event(sample: Sample) -> None:
    """Whoever breaks off early is understood as well."""
    incoming = incoming_for(sample)
    incoming.feed(b''.join(sample.events[:2]))
    assert incoming.dialect is sample.dialect


@samples
def test_what_only_speaks_of_an_end_is_none(sample: Sample) -> None:
    incoming = incoming_for(sample)
    incoming.feed(sample.begun)
    words = '[DONE] message_stop "message_stop" response.completed "error" "done": true'
    if sample.content_type == SSE:
        incoming.feed(event({'type': 'x', 'text': words, 'finish': {'type': 'finish'}}))
        incoming.feed(b': data: [DONE]\n\n')
    else:
        incoming.feed(line({'text': words, 'in': {'done': True}, 'done': False}))
        incoming.feed(line({'done': 'true'}))
    assert not incoming.over
    assert not incoming.complete


@pytest.mark.parametrize(
    'end', ['response.completed', 'response.failed', 'response.incomplete', 'error']
)
def test_each_end_of_a_response_is_one(end: str) -> None:
    incoming = incoming_for(RESPONSES)
    incoming.feed(RESPONSES.begun)
    incoming.feed(event({'type': end, 'sequence_number': 9}, end))
    assert incoming.over


@pytest.mark.parametrize(
    'sample', [s for s in SAMPLES.values() if s.content_type == SSE]
)
def test_done_is_an_end_in_all_server_sent_events(sample: Sample) -> None:
    incoming = incoming_for(sample)
    incoming.feed(sample.begun + b'data:[DONE]\r\n\r\n')
    assert incoming.over


def test_a_line_that_is_done_is_no_end_if_others_follow() -> None:
    """A list of things that are to be done, say."""
    incoming = incoming_for(LINES)
    incoming.feed(LINES.begun + line({'n': 3, 'done': True}))
    assert incoming.complete
    # The stream may pause here: nothing is cut before its connection ends.
    assert not incoming.over
    incoming.feed(line({'n': 4}))
    assert not incoming.complete
    incoming.feed(line({'done': True}) + line({'n': 5}))
    assert not incoming.complete


def test_a_first_event_that_says_nothing_is_not_the_last_word() -> None:
    incoming = incoming_for(CHAT)
    incoming.feed(b': ping\n\n' + event({'type': 'ping'}, 'ping'))
    assert incoming.dialect is table.SSE
    incoming.feed(CHAT.begun)
    assert incoming.dialect is table.CHAT


def test_events_of_nobody_s_are_not_parsed_for_ever() -> None:
    incoming = incoming_for(EVENTS)
    incoming.feed(EVENTS.begun * 10)
    incoming.feed(CHAT.begun)
    assert incoming.dialect is table.SSE


@pytest.mark.parametrize(
    ('fields', 'dialect'),
    [
        ({'choices': [{'text': 'x'}]}, table.COMPLETIONS),
        ({'choices': [{'delta': {}}]}, table.CHAT),
        ({'choices': []}, table.SSE),
        ({'choices': [7]}, table.SSE),
        ({'type': 7}, table.SSE),
        ({'type': 'start', 'messageId': 'm'}, table.UI),
        ({'type': 'tool-input-start', 'toolCallId': 't'}, table.UI),
        ({'type': 'text-delta', 'delta': 'x'}, table.SSE),
        ({'type': 'response.created'}, table.RESPONSES),
        ({'type': 'response.output_text.delta', 'delta': 'x'}, table.RESPONSES),
        ({'type': 'response.x', 'sequence_number': 1}, table.RESPONSES),
        ({'type': 'response.x'}, table.SSE),
        ({'type': 'responses'}, table.SSE),
        ([1, 2], table.SSE),
    ],
)
def test_one_event_of_a_server_that_leaves_things_out(
    fields: object, dialect: table.Dialect
) -> None:
    incoming = Incoming('Text/Event-Stream; charset=utf-8')
    incoming.feed(f'data: {json.dumps(fields)}\n\n'.encode())
    assert incoming.dialect is dialect


def test_a_type_that_is_the_event_s_name_as_well_is_a_response_s() -> None:
    incoming = Incoming(SSE)
    incoming.feed(event({'type': 'response.new'}, 'response.new'))
    assert incoming.dialect is table.RESPONSES
    incoming = Incoming(SSE)
    incoming.feed(event({'type': 'response.new'}, 'another'))
    assert incoming.dialect is table.SSE


@pytest.mark.parametrize('between', ['', ' ', '\t', '  \t '])
@pytest.mark.parametrize('sample', [OLLAMA, LINES, RECORDS])
def test_blanks_within_a_line_do_not_hide_its_end(between: str, sample: Sample) -> None:
    incoming = incoming_for(sample)
    incoming.feed(sample.begun)
    incoming.feed(f'{{"done"{between}:{between}true}}\n'.encode())
    assert incoming.complete
    assert incoming.over is (sample is OLLAMA)


@pytest.mark.parametrize('data', ['{}', '{"type":"message_stop"}', '[', ''])
def test_the_name_of_an_event_ends_a_message_whatever_its_data(data: str) -> None:
    incoming = incoming_for(ANTHROPIC)
    incoming.feed(ANTHROPIC.begun)
    incoming.feed(f'event: message_stop\ndata: {data}\n\n'.encode())
    assert incoming.over


def test_parts_may_follow_the_finish_of_a_ui_stream() -> None:
    """Applications write data parts after it. Only ``[DONE]`` is the very end."""
    incoming = incoming_for(UI)
    finish = event({'type': 'finish'})
    incoming.feed(UI.begun + finish)
    assert (incoming.complete, incoming.over) == (True, False)
    incoming.feed(event({'type': 'data-usage', 'data': {}}))
    assert (incoming.complete, incoming.over) == (True, False)
    incoming.feed(b'data: [DONE]\n\n')
    assert (incoming.complete, incoming.over) == (True, True)


def test_what_is_held_belongs_to_a_body_that_ends() -> None:
    incoming = Incoming(NDJSON)
    assert incoming.feed(b'{"n": 1}\n{"n"') == b'{"n": 1}\n'
    assert incoming.feed(b': 2}') == b''
    assert incoming.rest(clean=False) == b''
    assert incoming.rest(clean=True) == b'{"n": 2}'
    assert not incoming.complete


@pytest.mark.parametrize(
    ('sample', 'end'),
    [
        (CHAT, b'data: [DONE]\n'),
        (CHAT, b'data: [DONE]'),
        (LINES, b'{"done":true}'),
        (ANTHROPIC, ANTHROPIC.end[:-2]),
    ],
)
def test_an_end_that_lacks_its_line_end_is_one(sample: Sample, end: bytes) -> None:
    incoming = incoming_for(sample)
    incoming.feed(sample.begun)
    assert incoming.feed(end) == b''
    assert incoming.rest(clean=False) == end
    assert incoming.complete


def test_bytes_of_no_dialect_are_passed_on() -> None:
    incoming = Incoming('text/plain')
    assert incoming.feed(b'data: [DONE]') == b'data: [DONE]'
    assert incoming.dialect is table.OTHER
    assert not incoming.over
    assert incoming.rest(clean=True) == b''


def test_numbers_are_each_a_dialect_s_own() -> None:
    assert sorted(table.DIALECTS) == list(range(1, 13))
    for number, dialect in table.DIALECTS.items():
        assert dialect.number == number


@samples
def test_without_its_end_an_answer_need_not_be_whole(sample: Sample) -> None:
    """Only the connection has ended, which happens to a source that dies, too."""
    incoming = incoming_for(sample)
    incoming.feed(sample.begun)
    others = (table.SSE, table.JSON_LINES, table.JSON_RECORDS)
    assert incoming.may_end_here == (sample.dialect in others)
    half = sample.events[-1][: len(sample.events[-1]) // 2]
    incoming.feed(half)
    assert not incoming.may_end_here
    incoming.feed(sample.events[-1][len(half) :] + sample.end)
    assert incoming.may_end_here


def test_a_last_line_without_a_line_end_is_whole_if_its_object_is() -> None:
    incoming = incoming_for(LINES)
    incoming.feed(LINES.begun + b'{"n": {"m": 3}')
    assert not incoming.may_end_here
    incoming.feed(b'}')
    assert incoming.may_end_here
    assert incoming.rest(clean=True) == b'{"n": {"m": 3}}'


def test_other_bytes_may_end_anywhere() -> None:
    incoming = Incoming('text/plain')
    incoming.feed(b'half a wo')
    assert incoming.may_end_here
    incoming = incoming_for(EVENTS)
    incoming.feed(EVENTS.begun + b': half a comm')
    assert incoming.may_end_here


LONG = 'x' * 300_000


def response(kind: str, **more: object) -> bytes:
    return event({'type': kind, 'response': {'id': 'resp_1', **more}})


@pytest.mark.parametrize('size', [1000, 65536, 1 << 20])
@pytest.mark.parametrize(
    'data',
    [
        response('response.created', instructions=LONG),
        event(
            {
                'type': 'response.created',
                'sequence_number': 0,
                'response': {'id': 'resp_1', 'instructions': LONG},
            }
        ),
        # An order of which nothing is known: the next event that is whole tells it.
        event({'response': {'tools': LONG, 'id': 'resp_1'}, 'type': 'response.created'})
        + event({'type': 'response.output_text.delta', 'delta': '"response"'})
        + response('response.completed'),
    ],
)
def test_the_id_of_a_response_whose_first_event_is_too_long(
    data: bytes, size: int
) -> None:
    incoming = Incoming(SSE)
    for at in range(0, len(data), size):
        incoming.feed(data[at : at + size])
    assert incoming.response_id == 'resp_1'
    assert incoming.dialect is table.RESPONSES


def test_the_id_is_the_first_that_comes() -> None:
    incoming = Incoming(SSE)
    incoming.feed(event({'type': 'response.output_text.delta', 'sequence_number': 1}))
    assert incoming.response_id is None
    incoming.feed(response('response.in_progress'))
    incoming.feed(event({'type': 'response.completed', 'response': {'id': 'other'}}))
    assert incoming.response_id == 'resp_1'
