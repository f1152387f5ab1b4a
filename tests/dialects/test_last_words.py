"""What is said at the end of a stream, from the bytes that it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shmstream.dialects import frames, table
from shmstream.dialects.events import events_in
from shmstream.dialects.last_words import LastWords, last_words
from tests.dialects.samples import (
    AG_UI,
    ANTHROPIC,
    CHAT,
    COMPLETIONS,
    LANGGRAPH,
    LINES,
    LLAMA_RESPONSES,
    OLLAMA,
    RECORDS,
    RESPONSES,
    SAMPLES,
    SSE,
    UI,
    Sample,
    event,
    line,
    told,
)

WHY = 'upstream broke off the stream'

samples = pytest.mark.parametrize('sample', SAMPLES.values(), ids=SAMPLES)


def end_of(
    sample: Sample,
    stream: bytes | None = None,
    failure: str | None = None,
    number: int = 0,
    dropped: int = 0,
) -> LastWords:
    """The last words of a stream of which this many bytes are not there any more."""
    text = sample.begun if stream is None else stream
    opening = b'' if dropped else text
    left = text[dropped:]
    return last_words(
        *(sample.content_type, number),
        lambda size: opening[:size],
        lambda size: left[-size:],
        failure,
    )


def fields_of(words: LastWords, sample: Sample) -> list[dict[str, Any]]:
    return [e.fields for e in events_in(words.frame, sample.dialect.framing)]


@samples
def test_a_failure_is_told_as_the_clients_know_it(sample: Sample) -> None:
    words = end_of(sample, failure=WHY)
    assert words.told
    assert not words.over
    assert words.frame == told(sample, WHY)


@samples
def test_nothing_follows_the_word_of_an_end(sample: Sample) -> None:
    if not sample.end:
        return
    for failure in (WHY, None):
        words = end_of(sample, sample.begun + sample.end, failure)
        assert words == LastWords(True, b'', told=True)


@samples
def test_a_failure_is_told_once(sample: Sample) -> None:
    """Whoever wrote it was interrupted before the state was written."""
    if sample.content_type == SSE:
        whole = sample.begun + end_of(sample, failure=WHY).frame
        assert end_of(sample, whole, 'another').frame == b''


@samples
@pytest.mark.parametrize('number', [0, 99])
def test_what_is_left_of_a_stream_says_what_it_speaks(
    sample: Sample, number: int
) -> None:
    """The ring has dropped the beginning, and the first event by halves."""
    if sample is LANGGRAPH:
        number = table.LANGGRAPH.number
    dropped = len(sample.events[0]) // 2
    words = end_of(sample, number=number, dropped=dropped)
    expected = end_of(sample, number=sample.dialect.number)
    if sample.dialect is table.RESPONSES:
        assert fields_of(words, sample)[0]['response']['status'] == 'incomplete'
    elif sample is AG_UI:
        assert fields_of(words, sample)[-1]['type'] == 'RUN_FINISHED'
    else:
        assert words == expected


def test_a_stop_of_chat_is_a_last_chunk_of_the_same_answer() -> None:
    words = end_of(CHAT)
    assert words.frame.endswith(b'data: [DONE]\n\n')
    assert fields_of(words, CHAT)[0] == {
        **{'id': 'chat-1', 'object': 'chat.completion.chunk', 'created': 7},
        'model': 'm-1',
        'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'cancelled'}],
    }


def chunk(*choices: dict[str, Any]) -> bytes:
    return event({'id': 'i', 'object': 'chat.completion.chunk', 'choices': choices})


def test_choices_that_have_finished_are_not_stopped() -> None:
    stream = chunk({'index': 0, 'delta': {}, 'finish_reason': None})
    stream += chunk({'index': 1, 'delta': {}, 'finish_reason': None})
    stream += chunk({'index': 1, 'delta': {}, 'finish_reason': 'stop'}) + chunk()
    first, _ = fields_of(end_of(CHAT, stream), CHAT)
    assert [choice['index'] for choice in first['choices']] == [0]
    stream += chunk({'index': 0, 'delta': {}, 'finish_reason': 'length'})
    assert end_of(CHAT, stream).frame == b'data: [DONE]\n\n'


def test_a_stop_of_a_completion_has_no_text() -> None:
    first, _ = fields_of(end_of(COMPLETIONS), COMPLETIONS)
    (choice,) = first['choices']
    assert first['id'] == 'cmpl-1'
    assert (choice['text'], choice['finish_reason']) == ('', 'cancelled')


def test_a_stop_of_a_response_without_numbers_has_none() -> None:
    (found,) = fields_of(end_of(LLAMA_RESPONSES), LLAMA_RESPONSES)
    assert found['type'] == 'response.incomplete'
    assert 'sequence_number' not in found
    assert found['response']['id'] == 'resp-1'
    assert found['response']['incomplete_details'] == {'reason': 'cancelled'}


def test_a_ui_stream_that_has_finished_is_over_though_parts_follow() -> None:
    stream = UI.begun + event({'type': 'finish'}) + event({'type': 'data-usage'})
    assert end_of(UI, stream, WHY) == LastWords(True, b'', told=True)


def test_a_stop_of_a_response_has_its_id_and_the_next_number() -> None:
    (found,) = fields_of(end_of(RESPONSES), RESPONSES)
    assert (found['type'], found['sequence_number']) == ('response.incomplete', 6)
    response = found['response']
    assert (response['id'], response['model']) == ('resp-1', 'm-1')
    assert response['status'] == 'incomplete'
    assert response['incomplete_details'] == {'reason': 'cancelled'}


def test_a_response_that_begins_with_much_is_stopped_with_its_id() -> None:
    """Its first event repeats the instructions and the tools that were sent."""
    much = {'id': 'resp-2', 'model': 'm-2', 'instructions': 'x' * 100_000}
    kind = 'response.created'
    first = event({'type': kind, 'sequence_number': 0, 'response': much}, kind)
    (found,) = fields_of(end_of(RESPONSES, first + RESPONSES.events[-1]), RESPONSES)
    assert found['response']['id'] == 'resp-2'


def test_a_stop_of_a_message_a_run_and_a_ui_stream() -> None:
    stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert end_of(ANTHROPIC).frame == stop
    assert end_of(LANGGRAPH).frame == b'event: end\ndata: null\n\n'
    metadata = b'{"type":"message-metadata","messageMetadata":{"stopped":true}}'
    abort = b'{"type":"abort","reason":"stopped"}'
    expected = b''.join(b'data: %s\n\n' % d for d in (metadata, abort, b'[DONE]'))
    assert end_of(UI).frame == expected


def test_a_stop_of_ag_ui_closes_what_is_open_and_ends_the_run() -> None:
    run = {'threadId': 't', 'runId': 'r'}
    finished = {'type': 'RUN_FINISHED', **run, 'finishReason': 'cancelled'}
    message = {'type': 'TEXT_MESSAGE_END', 'messageId': 'm'}
    assert fields_of(end_of(AG_UI), AG_UI) == [message, finished]
    stream = AG_UI.begun + event(message)
    stream += event({'type': 'STEP_STARTED', 'stepName': 's'})
    stream += event({'type': 'TOOL_CALL_START', 'toolCallId': 'a'})
    stream += event({'type': 'TOOL_CALL_END', 'toolCallId': 'a'})
    stream += event({'type': 'TOOL_CALL_ARGS', 'toolCallId': 'b', 'delta': '{'})
    assert fields_of(end_of(AG_UI, stream), AG_UI) == [
        {'type': 'TOOL_CALL_END', 'toolCallId': 'b'},
        {'type': 'STEP_FINISHED', 'stepName': 's'},
        finished,
    ]


def test_a_stop_of_ag_ui_closes_the_innermost_first() -> None:
    stream = AG_UI.events[0]
    for kind in ('THINKING_START', 'THINKING_TEXT_MESSAGE_START'):
        stream += event({'type': kind})
    stream += event({'type': 'REASONING_START', 'messageId': 'a'})
    stream += event({'type': 'REASONING_MESSAGE_START', 'messageId': 'a'})
    closed = [each['type'] for each in fields_of(end_of(AG_UI, stream), AG_UI)]
    assert closed == [
        'REASONING_MESSAGE_END',
        'REASONING_END',
        'THINKING_TEXT_MESSAGE_END',
        'THINKING_END',
        'RUN_FINISHED',
    ]


def test_a_run_with_too_much_open_is_stopped_by_an_error() -> None:
    stream = AG_UI.events[0]
    for number in range(40):
        stream += event({'type': 'STEP_STARTED', 'stepName': f'{number}' * 20})
    (told,) = fields_of(end_of(AG_UI, stream), AG_UI)
    assert (told['type'], told['code']) == ('RUN_ERROR', 'cancelled')
    assert told['runId'] == 'r'


def test_a_run_that_follows_another_is_not_over() -> None:
    stream = AG_UI.begun + AG_UI.end
    assert end_of(AG_UI, stream, WHY).over
    again = stream + AG_UI.events[0]
    assert b'RUN_ERROR' in end_of(AG_UI, again, WHY).frame


def test_a_stop_of_ollama_is_its_last_line() -> None:
    (found,) = fields_of(end_of(OLLAMA), OLLAMA)
    assert found == {
        **{'model': 'm-1', 'created_at': '2026-01-01T00:00:00Z'},
        'message': {'role': 'assistant', 'content': ''},
        **{'done': True, 'done_reason': 'cancelled'},
    }
    generated = line({'model': 'm-1', 'response': 'one', 'done': False})
    (found,) = fields_of(end_of(OLLAMA, generated), OLLAMA)
    assert found['response'] == ''
    assert 'message' not in found


@pytest.mark.parametrize('sample', [SAMPLES['events'], LINES, RECORDS])
def test_others_are_stopped_by_a_clean_end(sample: Sample) -> None:
    assert end_of(sample) == LastWords(False, b'', told=True)


@samples
def test_before_the_first_event_a_failure_can_be_told(sample: Sample) -> None:
    words = end_of(sample, b'', WHY)
    assert words.told
    assert words.frame == told(sample, WHY, begun=False)
    assert end_of(sample, b'').told


def test_a_failure_after_half_an_event_begins_an_event_of_its_own() -> None:
    """A producer of the library writes what it likes."""
    half = CHAT.begun + b'data: {"half'
    assert end_of(CHAT, half, WHY).frame == b'\n\n' + told(CHAT, WHY, begun=False)
    half = OLLAMA.begun + b'{"half'
    assert end_of(OLLAMA, half, WHY).frame == b'\n' + told(OLLAMA, WHY, begun=False)
    # A comment is no event.
    ping = CHAT.begun + b': ping\n'
    assert end_of(CHAT, ping, WHY).frame == told(CHAT, WHY, begun=False)


def test_a_long_last_event_is_found() -> None:
    long = event({'type': 'response.completed', 'text': 'x' * 200_000})
    assert end_of(RESPONSES, RESPONSES.begun * 100 + long, WHY).over
    endless = RESPONSES.begun + b'data: ' + b'x' * 300_000
    assert end_of(RESPONSES, endless, WHY).frame.startswith(b'\n\nevent: error\n')


def test_what_cannot_be_told_is_not() -> None:
    audio = Sample(table.OTHER, 'audio/ogg', [], b'')
    for stream in (b'', b'half', b'data: x\n\n'):
        assert end_of(audio, stream, WHY) == LastWords(False, b'', told=False)
        assert end_of(audio, stream) == LastWords(False, b'', told=True)


@pytest.mark.parametrize('text', ['x', '"', '\x00', 'é', '\ud800'])
def test_however_long_a_message_is_it_fits(text: str) -> None:
    for sample in (CHAT, OLLAMA):
        words = end_of(sample, failure=text * 10_000)
        assert 200 < len(words.frame) <= frames.MAX_FRAME
        assert words.frame.decode()
    stream = event({'id': text * 500, 'model': text * 240, 'choices': [{'delta': {}}]})
    words = end_of(CHAT, stream)
    assert len(words.frame) <= frames.MAX_FRAME
    assert b'"cancelled"' in words.frame
    assert b'"id"' not in words.frame


@samples
def test_damaged_bytes_do_no_harm(sample: Sample) -> None:
    for stream in (b'\xff' * 100, b'\n' * 100, b'data: {\n\n', b'[' * 50_000 + b'\n\n'):
        for failure in (WHY, None):
            words = end_of(sample, stream, failure)
            assert words.told
            json.dumps([repr(words)])
