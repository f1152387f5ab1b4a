"""A short answer in every dialect, event by event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shmstream.dialects import table
from shmstream.dialects.table import Dialect
from tests.support.ends import failure, failure_line, failure_of_run

SSE = 'text/event-stream'
NDJSON = 'application/x-ndjson'


def event(fields: dict[str, Any] | str | None, name: str = '') -> bytes:
    """A server-sent event."""
    data = fields if isinstance(fields, str) else json.dumps(fields)
    head = f'event: {name}\n' if name else ''
    return f'{head}data: {data}\n\n'.encode()


def line(fields: dict[str, Any]) -> bytes:
    """A JSON line."""
    return json.dumps(fields).encode() + b'\n'


@dataclass(frozen=True)
class Sample:
    """An answer.

    Attributes:
        dialect: what it speaks.
        content_type: its type.
        events: without its end.
        end: what says that it is over; empty if only the end of its body does.
        headers: that its format is known by.
    """

    dialect: Dialect
    content_type: str
    events: list[bytes]
    end: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def begun(self) -> bytes:
        """All but its end."""
        return b''.join(self.events)


def _chat(delta: dict[str, Any]) -> bytes:
    choice = {'index': 0, 'delta': delta, 'finish_reason': None}
    head = {'id': 'chat-1', 'object': 'chat.completion.chunk', 'created': 7}
    return event({**head, 'model': 'm-1', 'choices': [choice]})


def _completion(text: str) -> bytes:
    choice = {'index': 0, 'text': text, 'logprobs': None, 'finish_reason': None}
    head = {'id': 'cmpl-1', 'object': 'text_completion', 'created': 7}
    return event({**head, 'model': 'm-1', 'choices': [choice]})


_RESPONSE = {
    **{'id': 'resp-1', 'object': 'response', 'created_at': 7, 'model': 'm-1'},
    **{'status': 'in_progress', 'error': None, 'incomplete_details': None},
    **{'output': [], 'parallel_tool_calls': True, 'tool_choice': 'auto', 'tools': []},
}


def _response(kind: str, number: int, **fields: Any) -> bytes:
    return event({'type': kind, 'sequence_number': number, **fields}, kind)


def _text(number: int, delta: str) -> bytes:
    place = {'item_id': 'msg-1', 'output_index': 0, 'content_index': 0}
    kind = 'response.output_text.delta'
    return _response(kind, number, **place, delta=delta, logprobs=[])


def _item(**fields: Any) -> dict[str, Any]:
    return {'id': 'msg-1', 'type': 'message', 'role': 'assistant', **fields}


_PART = {'type': 'output_text', 'text': '', 'annotations': []}


_LLAMA = {'id': 'resp-1', 'object': 'response', 'status': 'in_progress'}


def _anthropic(kind: str, **fields: Any) -> bytes:
    return event({'type': kind, **fields}, kind)


def _ollama(word: str) -> bytes:
    message = {'role': 'assistant', 'content': word}
    head = {'model': 'm-1', 'created_at': '2026-01-01T00:00:00Z'}
    return line({**head, 'message': message, 'done': False})


def _delta(text: str) -> bytes:
    delta = {'type': 'text_delta', 'text': text}
    return _anthropic('content_block_delta', index=0, delta=delta)


_MESSAGE = {
    **{'id': 'msg-1', 'type': 'message', 'role': 'assistant', 'content': []},
    **{'model': 'm-1', 'stop_reason': None, 'stop_sequence': None},
    'usage': {'input_tokens': 1, 'output_tokens': 1},
}

CHAT = Sample(
    table.CHAT,
    SSE,
    [
        _chat({'role': 'assistant', 'content': ''}),
        _chat({'content': 'one '}),
        _chat({'content': 'two '}),
    ],
    b'data: [DONE]\n\n',
)
COMPLETIONS = Sample(
    table.COMPLETIONS,
    SSE,
    [_completion('one '), _completion('two ')],
    b'data: [DONE]\n\n',
)
RESPONSES = Sample(
    table.RESPONSES,
    SSE,
    [
        _response('response.created', 0, response=_RESPONSE),
        _response('response.in_progress', 1, response=_RESPONSE),
        _response(
            'response.output_item.added',
            2,
            output_index=0,
            item=_item(status='in_progress', content=[]),
        ),
        _response(
            'response.content_part.added',
            3,
            **{'item_id': 'msg-1', 'output_index': 0, 'content_index': 0},
            part=_PART,
        ),
        _text(4, 'one '),
        _text(5, 'two '),
    ],
    _response('response.completed', 6, response={**_RESPONSE, 'status': 'completed'}),
)
LLAMA_RESPONSES = Sample(
    # llama.cpp numbers none of its events.
    table.RESPONSES,
    SSE,
    [
        event({'type': kind, **fields}, kind)
        for kind, fields in (
            ('response.created', {'response': _LLAMA}),
            ('response.in_progress', {'response': _LLAMA}),
            ('response.output_item.added', {'item': _item(content=[])}),
            ('response.content_part.added', {'item_id': 'msg-1', 'part': _PART}),
            ('response.output_text.delta', {'item_id': 'msg-1', 'delta': 'one '}),
            ('response.output_text.delta', {'item_id': 'msg-1', 'delta': 'two '}),
        )
    ],
    event(
        {'type': 'response.completed', 'response': {**_LLAMA, 'status': 'completed'}},
        'response.completed',
    ),
)
ANTHROPIC = Sample(
    table.ANTHROPIC,
    SSE,
    [
        _anthropic('message_start', message=_MESSAGE),
        _anthropic(
            'content_block_start', index=0, content_block={'type': 'text', 'text': ''}
        ),
        _anthropic('ping'),
        _delta('one '),
        _delta('two '),
    ],
    _anthropic('message_stop'),
)
UI = Sample(
    table.UI,
    SSE,
    [
        event({'type': 'start'}),
        event({'type': 'text-start', 'id': 't'}),
        event({'type': 'text-delta', 'id': 't', 'delta': 'one '}),
        event({'type': 'text-delta', 'id': 't', 'delta': 'two '}),
    ],
    event({'type': 'finish'}) + b'data: [DONE]\n\n',
    (('X-Vercel-AI-UI-Message-Stream', 'v1'),),
)
LANGGRAPH = Sample(
    table.LANGGRAPH,
    SSE,
    [
        event({'run_id': 'r', 'attempt': 1}, 'metadata'),
        event({'n': 1}, 'values'),
        event({'n': 2}, 'values'),
    ],
    b'event: end\ndata: null\n\n',
)
AG_UI = Sample(
    table.AG_UI,
    SSE,
    [
        event({'type': 'RUN_STARTED', 'threadId': 't', 'runId': 'r'}),
        event({'type': 'TEXT_MESSAGE_START', 'messageId': 'm', 'role': 'assistant'}),
        event({'type': 'TEXT_MESSAGE_CONTENT', 'messageId': 'm', 'delta': 'one '}),
        event({'type': 'TEXT_MESSAGE_CONTENT', 'messageId': 'm', 'delta': 'two '}),
    ],
    event({'type': 'TEXT_MESSAGE_END', 'messageId': 'm'})
    + event({'type': 'RUN_FINISHED', 'threadId': 't', 'runId': 'r'}),
)
EVENTS = Sample(table.SSE, SSE, [event({'n': 1}), event({'n': 2})], b'')
OLLAMA = Sample(
    table.OLLAMA,
    NDJSON,
    [_ollama('one '), _ollama('two ')],
    line(
        {
            **{'model': 'm-1', 'created_at': '2026-01-01T00:00:00Z'},
            'message': {'role': 'assistant', 'content': ''},
            **{'done': True, 'done_reason': 'stop'},
        }
    ),
)
LINES = Sample(
    table.JSON_LINES, NDJSON, [line({'n': 1}), line({'n': 2})], line({'done': True})
)
RECORDS = Sample(
    table.JSON_RECORDS,
    'application/json-seq',
    [b'\x1e' + line({'n': 1}), b'\x1e' + line({'n': 2})],
    b'\x1e' + line({'done': True}),
)

SAMPLES = {
    'chat': CHAT,
    'completions': COMPLETIONS,
    'responses': RESPONSES,
    'llama-responses': LLAMA_RESPONSES,
    'anthropic': ANTHROPIC,
    'ui': UI,
    'langgraph': LANGGRAPH,
    'ag-ui': AG_UI,
    'events': EVENTS,
    'ollama': OLLAMA,
    'lines': LINES,
    'records': RECORDS,
}
"""All whose failures can be told."""


def told(sample: Sample, message: str, *, begun: bool = True) -> bytes:
    """What tells a failure after all events of a sample, or before the first."""
    if sample is AG_UI and begun:
        return failure_of_run(message, '"threadId":"t","runId":"r",')
    if sample.content_type == SSE:
        return failure(message, 6 if sample is RESPONSES and begun else 0)
    return (b'\x1e' if sample is RECORDS else b'') + failure_line(message)
