"""The events that tell a failure or a stop, as bytes.

Each is at most ``MAX_FRAME`` bytes: a ring keeps so much room for it, also when memory
has run out. So messages are cut, and what a stream says of itself is repeated only as
far as it is short.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shmstream.dialects.events import Event

MAX_FRAME = 2048
"""Bytes of what is said at a stream's end, at most."""

_MAX_TEXT = 240
"""Characters of an id or a model's name that are repeated."""

_DONE = b'data: [DONE]\n\n'


@dataclass(frozen=True)
class Said:
    """What a stream has said so far, as far as it is still there.

    Attributes:
        first: its first events; empty if they are not there any more.
        last: its last events, the newest at the end.
    """

    first: list[Event]
    last: list[Event]


Stop = Callable[[Said], bytes]
"""Returns what tells a stop."""


def failure_event(message: str, sequence_number: int = 0) -> bytes:
    """Return the server-sent event that tells a failure to every client."""

    def frame(text: str) -> bytes:
        error = {
            'type': 'server_error',
            'code': '502',
            'message': text,
            'param': None,
        }
        told = {
            'type': 'error',
            'name': 'UpstreamError',
            'message': text,
            'errorText': text,
            'sequence_number': sequence_number,
            'error': error,
        }
        return _event(told, 'error')

    return _cut(frame, message)


def is_failure(event: Event) -> bool:
    """Whether the event is one that ``failure_event`` has made."""
    return event.name == b'error' and event.fields.get('name') == 'UpstreamError'


def failure_line(message: str) -> bytes:
    """Return the JSON line that tells a failure."""
    return _cut(lambda text: _line({'error': text}), message)


def next_sequence_number(said: Said) -> int:
    """Return the number after those of the stream's events; 0: they have none."""
    for event in reversed(said.last):
        number = event.fields.get('sequence_number')
        if isinstance(number, int):
            return number + 1
    return 0


# -- stops -----------------------------------------------------------------------------


def no_word(said: Said) -> bytes:
    """Return nothing: the stream ends."""
    return b''


def stop_chat(said: Said) -> bytes:
    """Return the last chunk of an OpenAI chat completion, and its end."""
    return _stop_openai(said, {'delta': {}})


def stop_completion(said: Said) -> bytes:
    """Return the last chunk of an OpenAI text completion, and its end."""
    return _stop_openai(said, {'text': '', 'logprobs': None})


def _stop_openai(said: Said, nothing: dict[str, Any]) -> bytes:
    head: dict[str, Any] = {}
    finished: dict[int, bool] = {}
    for event in reversed(said.last):
        choices = event.fields.get('choices')
        if not isinstance(choices, list):
            continue
        head = head or _repeated(event.fields, 'id', 'object', 'created', 'model')
        for choice in choices:
            if isinstance(choice, dict) and isinstance(choice.get('index', 0), int):
                # The newest word of each is met first.
                finished.setdefault(
                    choice.get('index', 0), choice.get('finish_reason') is not None
                )
    open_ones = sorted(index for index, over in finished.items() if not over)
    chunk = head | {
        'choices': [
            {'index': index} | nothing | {'finish_reason': 'cancelled'}
            for index in open_ones[:8]
        ]
    }
    return (_event(chunk) if open_ones else b'') + _DONE


def stop_response(said: Said) -> bytes:
    """Return the last event of an OpenAI response."""
    response: dict[str, Any] = {}
    for event in said.first + said.last:
        found = event.fields.get('response')
        if isinstance(found, dict):
            response = _repeated(found, 'id', 'created_at', 'model')
            break
    response |= {
        'object': 'response',
        'status': 'incomplete',
        'error': None,
        'incomplete_details': {'reason': 'cancelled'},
        'output': [],
        'parallel_tool_calls': True,
        'tool_choice': 'auto',
        'tools': [],
    }
    told = {
        'type': 'response.incomplete',
        'sequence_number': next_sequence_number(said),
        'response': response,
    }
    return _event(told, 'response.incomplete')


def stop_message(said: Said) -> bytes:
    """Return the last event of one of Anthropic's messages."""
    return _event({'type': 'message_stop'}, 'message_stop')


def stop_ui(said: Said) -> bytes:
    """Return the last events of a UI message stream."""
    stopped = {'type': 'message-metadata', 'messageMetadata': {'stopped': True}}
    return _event(stopped) + _event({'type': 'abort', 'reason': 'stopped'}) + _DONE


def stop_langgraph(said: Said) -> bytes:
    """Return the last event of a run of LangGraph's."""
    return b'event: end\ndata: null\n\n'


def stop_ollama(said: Said) -> bytes:
    """Return the last line of an answer of Ollama's."""
    for event in reversed(said.last):
        line = event.fields
        if 'done' in line:
            break
    else:
        return b''
    told = _repeated(line, 'model', 'created_at')
    if 'response' in line:
        told['response'] = ''
    else:
        told['message'] = {'role': 'assistant', 'content': ''}
    return _line(told | {'done': True, 'done_reason': 'cancelled'})


# -- bytes -----------------------------------------------------------------------------


def _event(told: dict[str, Any], name: str = '') -> bytes:
    text = json.dumps(told, ensure_ascii=False, separators=(',', ':'))
    head = f'event: {name}\n' if name else ''
    return f'{head}data: {text}\n\n'.encode('utf-8', 'replace')


def _line(told: dict[str, Any]) -> bytes:
    return f'{json.dumps(told, ensure_ascii=False)}\n'.encode('utf-8', 'replace')


def _repeated(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return those of the members that are there, and short."""
    return {
        name: found[name]
        for name in names
        if isinstance(found.get(name), (int, float))
        or (isinstance(found.get(name), str) and len(found[name]) <= _MAX_TEXT)
    }


def _cut(frame: Callable[[str], bytes], message: str) -> bytes:
    """Make a frame with as much of the message as it has room for."""
    told = frame(message)
    while len(told) > MAX_FRAME:
        message = message[: len(message) // 2]
        told = frame(message)
    return told
