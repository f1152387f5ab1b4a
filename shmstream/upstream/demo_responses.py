"""The Responses dialect of OpenAI, as the demo model answers in it."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from shmstream.dialects.framing import EVENT_STREAM
from shmstream.upstream.demo_events import MODEL, Fields, named, new_id


class Response:
    """OpenAI's Responses."""

    content_type: ClassVar[str] = EVENT_STREAM
    lists: ClassVar[str] = ''
    limits: ClassVar[tuple[str, ...]] = ('max_output_tokens',)
    streams: ClassVar[bool] = False

    def __init__(self) -> None:
        self._text: list[str] = []
        self._number = 0
        self._item = new_id('msg_')
        self._response: Fields = {
            'id': new_id('resp_'),
            'object': 'response',
            'created_at': int(time.time()),
            'model': MODEL,
            'error': None,
            'incomplete_details': None,
            'parallel_tool_calls': True,
            'tool_choice': 'auto',
            'tools': [],
        }

    def _event(self, kind: str, **fields: Any) -> bytes:
        told = {'type': kind, 'sequence_number': self._number, **fields}
        self._number += 1
        return named(told)

    def _state(self, status: str, *output: Fields) -> Fields:
        return self._response | {'status': status, 'output': list(output)}

    def _message(self, status: str, *content: Fields) -> Fields:
        return {
            'id': self._item,
            'type': 'message',
            'role': 'assistant',
            'status': status,
            'content': list(content),
        }

    @property
    def _place(self) -> Fields:
        return {'item_id': self._item, 'output_index': 0, 'content_index': 0}

    def opening(self) -> bytes:
        """Return the events that begin the response, its message and its text."""
        state, message = self._state('in_progress'), self._message('in_progress')
        return b''.join(
            (
                self._event('response.created', response=state),
                self._event('response.in_progress', response=state),
                self._event('response.output_item.added', output_index=0, item=message),
                self._event(
                    'response.content_part.added', **self._place, part=_part('')
                ),
            )
        )

    def word(self, word: str) -> bytes:
        """Return the event of a word."""
        self._text.append(word)
        kind = 'response.output_text.delta'
        return self._event(kind, **self._place, delta=word, logprobs=[])

    def closing(self) -> bytes:
        """Return the events that end the text, its message and the response."""
        text = ''.join(self._text)
        message = self._message('completed', _part(text))
        state = self._state('completed', message)
        return b''.join(
            (
                self._event(
                    'response.output_text.done', **self._place, text=text, logprobs=[]
                ),
                self._event(
                    'response.content_part.done', **self._place, part=_part(text)
                ),
                self._event('response.output_item.done', output_index=0, item=message),
                self._event('response.completed', response=state),
            )
        )

    def whole(self, text: str, tokens: int) -> Fields:
        """Return the response."""
        usage = {
            'input_tokens': 0,
            'input_tokens_details': {'cached_tokens': 0},
            'output_tokens': tokens,
            'output_tokens_details': {'reasoning_tokens': 0},
            'total_tokens': tokens,
        }
        message = self._message('completed', _part(text))
        return self._state('completed', message) | {'usage': usage}


def _part(text: str) -> Fields:
    return {'type': 'output_text', 'text': text, 'annotations': []}
