"""Makes the frames: the bytes of the events that tell a failure or a stop.

A frame has at most ``MAX_FRAME`` bytes. Every ring reserves this much room, so that a
frame can be written even when memory has run out. To keep within this size, a long
failure message is cut, and what the stream holds is repeated only if it is short: any
source may write what it likes. ``fitted`` is where every frame passes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from shmstream.dialects.events import Event

MAX_FRAME = 2048
"""Bytes of a frame, at most."""

_MAX_TEXT = 240
"""Bytes in JSON, at most, of an id or a model's name that is repeated in a frame."""

_MAX_NUMBER = 1 << 63
"""Numbers that are repeated are below this: no client can read larger ones."""

MAX_BEFORE = 2
"""Bytes, at most, that ``last_words`` or a dialect puts before a frame."""

_DONE = b'data: [DONE]\n\n'


@dataclass(frozen=True)
class Said:
    """The events of a stream from which its last frame is made.

    Attributes:
        first: the first events; empty if the ring does not hold them any more.
        last: the last events, the newest at the end.
    """

    first: list[Event]
    last: list[Event]


Stop = Callable[[Said], bytes]
"""A function that returns the frame that tells a stop; empty if none is written."""


def fitted(make: Callable[[Said], bytes], said: Said) -> bytes:
    """Return the frame of a stream; one that repeats nothing if it would be too long.

    Args:
        make: makes the frame. It fits if nothing can be repeated.
        said: the first and the last events of the stream.
    """
    frame = make(said)
    return frame if len(frame) <= MAX_FRAME else make(Said([], []))


def failure_event(message: str, sequence_number: int = 0) -> bytes:
    """Return a server-sent event that tells a failure to the clients of most dialects.

    Args:
        message: why the stream has failed. It is cut if the event would be too long.
        sequence_number: the number of the event in the stream (OpenAI Responses).
    """

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
        return event_of(told, 'error')

    return cut_to_fit(frame, message)


def is_failure(event: Event) -> bool:
    """Whether ``failure_event``, or AG-UI's ``failure``, has made this event."""
    is_error = event.name == b'error' or event.type == 'RUN_ERROR'
    return is_error and event.fields.get('name') == 'UpstreamError'


def failure_of_response(message: str, said: Said) -> bytes:
    """Return ``failure_event`` with the number that the stream's next event has."""
    return failure_event(message, next_sequence_number(said) or 0)


def failure_line(message: str) -> bytes:
    """Return a JSON line that tells a failure.

    Args:
        message: why the stream has failed. It is cut if the line would be too long.
    """
    return cut_to_fit(lambda text: _line({'error': text}), message)


def next_sequence_number(said: Said) -> int | None:
    """Return the number of the stream's next event; None if no event has a number."""
    for event in reversed(said.last):
        number = event.fields.get('sequence_number')
        # The next number has to be one that can be repeated, too.
        if _is_index(number) and _is_index(number + 1):
            return number + 1
    return None


# -- stops -----------------------------------------------------------------------------


def no_word(said: Said) -> bytes:
    """Return an empty frame: the stream just ends."""
    return b''


def stop_chat(said: Said) -> bytes:
    """Return the last chunk of an OpenAI chat completion, and ``[DONE]``."""
    return _stop_openai(said, {'delta': {}})


def stop_completion(said: Said) -> bytes:
    """Return the last chunk of an OpenAI text completion, and ``[DONE]``."""
    return _stop_openai(said, {'text': '', 'logprobs': None})


def _stop_openai(said: Said, nothing: dict[str, Any]) -> bytes:
    head: dict[str, Any] = {}
    finished: dict[int, bool] = {}
    for event in reversed(said.last):
        choices = event.fields.get('choices')
        if not isinstance(choices, list):
            continue
        head = head or repeated(event.fields, 'id', 'object', 'created', 'model')
        for choice in choices:
            index = choice.get('index', 0) if isinstance(choice, dict) else None
            if _is_index(index):
                # The newest event of a choice is met first, and only this one counts.
                finished.setdefault(index, choice.get('finish_reason') is not None)
    open_ones = sorted(index for index, over in finished.items() if not over)
    # More than eight choices may not fit into the frame.
    chunk = head | {
        'choices': [
            {'index': index} | nothing | {'finish_reason': 'cancelled'}
            for index in open_ones[:8]
        ]
    }
    return (event_of(chunk) if open_ones else b'') + _DONE


def stop_response(said: Said) -> bytes:
    """Return the event that ends an OpenAI response as incomplete."""
    response: dict[str, Any] = {}
    for event in said.first + said.last:
        found = event.fields.get('response')
        if isinstance(found, dict):
            response = repeated(found, 'id', 'created_at', 'model')
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
    told: dict[str, Any] = {'type': 'response.incomplete'}
    number = next_sequence_number(said)
    if number is not None:
        told['sequence_number'] = number
    return event_of(told | {'response': response}, 'response.incomplete')


def stop_message(said: Said) -> bytes:
    """Return the event that ends an Anthropic message."""
    return event_of({'type': 'message_stop'}, 'message_stop')


def stop_ui(said: Said) -> bytes:
    """Return the events that end a UI message stream of the AI SDK."""
    stopped = {'type': 'message-metadata', 'messageMetadata': {'stopped': True}}
    return event_of(stopped) + event_of({'type': 'abort', 'reason': 'stopped'}) + _DONE


def stop_langgraph(said: Said) -> bytes:
    """Return the event that ends a LangGraph run."""
    return b'event: end\ndata: null\n\n'


def stop_ollama(said: Said) -> bytes:
    """Return the line that ends an Ollama answer; empty if no line has ``done``."""
    for event in reversed(said.last):
        line = event.fields
        if 'done' in line:
            break
    else:
        return b''
    told = repeated(line, 'model', 'created_at')
    if 'response' in line:
        told['response'] = ''
    else:
        told['message'] = {'role': 'assistant', 'content': ''}
    return _line(told | {'done': True, 'done_reason': 'cancelled'})


# -- bytes -----------------------------------------------------------------------------


def event_of(told: dict[str, Any], name: str = '') -> bytes:
    """Return a server-sent event."""
    head = f'event: {name}\n' if name else ''
    return b'%sdata: %s\n\n' % (head.encode(), _json(told))


def _line(told: dict[str, Any]) -> bytes:
    return f'{json.dumps(told, ensure_ascii=False)}\n'.encode('utf-8', 'replace')


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(',', ':'))
    return text.encode('utf-8', 'replace')


def repeated(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the members of these names that are short texts or plain numbers."""
    return {name: found[name] for name in names if _is_short(found.get(name))}


def _is_short(value: object) -> bool:
    if isinstance(value, float):
        # JSON has no infinity, but Python reads 1e999 as one.
        return math.isfinite(value)
    if isinstance(value, str):
        # Long texts are not encoded only to be counted.
        return len(value) <= _MAX_TEXT and len(_json(value)) <= _MAX_TEXT
    return _is_index(value)


def _is_index(value: object) -> TypeGuard[int]:
    """Whether this is an integer that is small enough to be repeated."""
    # True is an int in Python, but not in JSON.
    return type(value) is int and abs(value) < _MAX_NUMBER


def cut_to_fit(frame: Callable[[str], bytes], message: str) -> bytes:
    """Return the message's frame. The message is halved until the frame fits."""
    told = frame(message)
    while message and len(told) > MAX_FRAME - MAX_BEFORE:
        message = message[: len(message) // 2]
        told = frame(message)
    return told
