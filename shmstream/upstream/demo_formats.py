"""The dialects that the demo model answers in, streamed and not.

Each answer is one object of a class, which returns the bytes of its events in order::

    opening()   the events before the first word
    word(w)     the event of one word
    closing()   the events after the last word
    whole()     the whole answer as one JSON object, if the answer is not streamed
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

from shmstream.chance import random_bits
from shmstream.dialects.framing import EVENT_STREAM

MODEL = 'shmstream-demo'

Fields = dict[str, Any]


class Format(Protocol):
    """One answer in one dialect.

    Attributes:
        content_type: the content type of the streamed answer.
        lists: the member of a request that must be a list; empty if none must.
        limits: the members of a request that may say how many words the answer has. The
            first member that is there counts.
        streams: whether the answer is streamed if the request does not say so.
    """

    content_type: ClassVar[str]
    lists: ClassVar[str]
    limits: ClassVar[tuple[str, ...]]
    streams: ClassVar[bool]

    def opening(self) -> bytes:
        """Return the events before the first word."""

    def word(self, word: str) -> bytes:
        """Return the event of a word."""

    def closing(self) -> bytes:
        """Return the events after the last word."""

    def whole(self, text: str, tokens: int) -> Fields:
        """Return the answer that is not streamed."""


def _event(fields: Fields) -> bytes:
    return f'data: {json.dumps(fields)}\n\n'.encode()


def _named(fields: Fields) -> bytes:
    return f'event: {fields["type"]}\ndata: {json.dumps(fields)}\n\n'.encode()


def _line(fields: Fields) -> bytes:
    return json.dumps(fields).encode() + b'\n'


def _id(prefix: str) -> str:
    return f'{prefix}{random_bits(64):016x}'


class _OpenAI:
    """What chat and text completions have in common."""

    content_type: ClassVar[str] = EVENT_STREAM
    streams: ClassVar[bool] = False
    chunk_kind: ClassVar[str]
    kind: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self) -> None:
        self._head: Fields = {
            'id': _id(self.prefix),
            'created': int(time.time()),
            'model': MODEL,
        }

    def _chunk(self, choice: Fields, reason: str | None = None) -> bytes:
        choices = [{'index': 0, **choice, 'finish_reason': reason}]
        return _event(self._head | {'object': self.chunk_kind, 'choices': choices})

    def _whole(self, choice: Fields, tokens: int) -> Fields:
        choices = [{'index': 0, **choice, 'finish_reason': 'stop'}]
        usage = {'prompt_tokens': 0, 'completion_tokens': tokens}
        return self._head | {
            'object': self.kind,
            'choices': choices,
            'usage': usage | {'total_tokens': tokens},
        }


class Chat(_OpenAI):
    """OpenAI's chat completions."""

    lists: ClassVar[str] = 'messages'
    limits: ClassVar[tuple[str, ...]] = ('max_tokens', 'max_completion_tokens')
    chunk_kind = 'chat.completion.chunk'
    kind = 'chat.completion'
    prefix = 'chatcmpl-'

    def opening(self) -> bytes:
        """Return the chunk with the role."""
        return self._chunk({'delta': {'role': 'assistant', 'content': ''}})

    def word(self, word: str) -> bytes:
        """Return the chunk of a word."""
        return self._chunk({'delta': {'content': word}})

    def closing(self) -> bytes:
        """Return the chunk with the reason, and the end."""
        return self._chunk({'delta': {}}, 'stop') + b'data: [DONE]\n\n'

    def whole(self, text: str, tokens: int) -> Fields:
        """Return the completion."""
        message = {'role': 'assistant', 'content': text}
        return self._whole({'message': message}, tokens)


class Completion(_OpenAI):
    """OpenAI's text completions."""

    lists: ClassVar[str] = ''
    limits: ClassVar[tuple[str, ...]] = ('max_tokens',)
    chunk_kind = kind = 'text_completion'
    prefix = 'cmpl-'

    def opening(self) -> bytes:
        """Return nothing."""
        return b''

    def word(self, word: str) -> bytes:
        """Return the chunk of a word."""
        return self._chunk({'text': word, 'logprobs': None})

    def closing(self) -> bytes:
        """Return the chunk with the reason, and the end."""
        last = self._chunk({'text': '', 'logprobs': None}, 'stop')
        return last + b'data: [DONE]\n\n'

    def whole(self, text: str, tokens: int) -> Fields:
        """Return the completion."""
        return self._whole({'text': text, 'logprobs': None}, tokens)


class Response:
    """OpenAI's Responses."""

    content_type: ClassVar[str] = EVENT_STREAM
    lists: ClassVar[str] = ''
    limits: ClassVar[tuple[str, ...]] = ('max_output_tokens',)
    streams: ClassVar[bool] = False

    def __init__(self) -> None:
        self._text: list[str] = []
        self._number = 0
        self._item = _id('msg_')
        self._response: Fields = {
            'id': _id('resp_'),
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
        return _named(told)

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


class Message:
    """Anthropic's Messages."""

    content_type: ClassVar[str] = EVENT_STREAM
    lists: ClassVar[str] = 'messages'
    limits: ClassVar[tuple[str, ...]] = ('max_tokens',)
    streams: ClassVar[bool] = False

    def __init__(self) -> None:
        self._words = 0
        self._message: Fields = {
            'id': _id('msg_'),
            'type': 'message',
            'role': 'assistant',
            'model': MODEL,
            'content': [],
            'stop_reason': None,
            'stop_sequence': None,
            'usage': {'input_tokens': 0, 'output_tokens': 0},
        }

    def opening(self) -> bytes:
        """Return the events that begin the message and its text."""
        block = {'type': 'text', 'text': ''}
        begin = {'type': 'content_block_start', 'index': 0, 'content_block': block}
        start = {'type': 'message_start', 'message': self._message}
        return _named(start) + _named(begin)

    def word(self, word: str) -> bytes:
        """Return the event of a word."""
        self._words += 1
        delta = {'type': 'text_delta', 'text': word}
        return _named({'type': 'content_block_delta', 'index': 0, 'delta': delta})

    def closing(self) -> bytes:
        """Return the events that end the text and the message."""
        last = {
            'type': 'message_delta',
            'delta': {'stop_reason': 'end_turn', 'stop_sequence': None},
            'usage': {'output_tokens': self._words},
        }
        block = _named({'type': 'content_block_stop', 'index': 0})
        return block + _named(last) + _named({'type': 'message_stop'})

    def whole(self, text: str, tokens: int) -> Fields:
        """Return the message."""
        return self._message | {
            'content': [{'type': 'text', 'text': text}],
            'stop_reason': 'end_turn',
            'usage': {'input_tokens': 0, 'output_tokens': tokens},
        }


class OllamaChat:
    """Ollama's chat."""

    content_type: ClassVar[str] = 'application/x-ndjson'
    lists: ClassVar[str] = 'messages'
    limits: ClassVar[tuple[str, ...]] = ('num_predict',)
    streams: ClassVar[bool] = True

    def __init__(self) -> None:
        self._words = 0

    def _told(self, text: str, done: bool) -> Fields:
        return {
            'model': MODEL,
            'created_at': datetime.now(UTC).isoformat().replace('+00:00', 'Z'),
            'message': {'role': 'assistant', 'content': text},
            'done': done,
        }

    def opening(self) -> bytes:
        """Return nothing."""
        return b''

    def word(self, word: str) -> bytes:
        """Return the line of a word."""
        self._words += 1
        return _line(self._told(word, done=False))

    def closing(self) -> bytes:
        """Return the last line."""
        return _line(self.whole('', self._words))

    def whole(self, text: str, tokens: int) -> Fields:
        """Return the answer."""
        counted = {'prompt_eval_count': 0, 'eval_count': tokens}
        return self._told(text, done=True) | {'done_reason': 'stop'} | counted


FORMATS: dict[str, type[Format]] = {
    '/chat/completions': Chat,
    '/completions': Completion,
    '/responses': Response,
    '/messages': Message,
    '/api/chat': OllamaChat,
}
"""The formats by their paths, without ``/v1``."""
