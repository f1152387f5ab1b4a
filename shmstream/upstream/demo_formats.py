"""The dialects that the demo model answers in, streamed and not.

Each answer is one object of a class, which returns the bytes of its events in order::

    opening()   the events before the first word
    word(w)     the event of one word
    closing()   the events after the last word
    whole()     the whole answer as one JSON object, if the answer is not streamed
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import ClassVar

from shmstream.dialects.framing import EVENT_STREAM
from shmstream.upstream.demo_events import (
    MODEL,
    Fields,
    Format,
    event,
    line,
    named,
    new_id,
)
from shmstream.upstream.demo_responses import Response


class _OpenAI:
    """What chat and text completions have in common."""

    content_type: ClassVar[str] = EVENT_STREAM
    streams: ClassVar[bool] = False
    chunk_kind: ClassVar[str]
    kind: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self) -> None:
        self._head: Fields = {
            'id': new_id(self.prefix),
            'created': int(time.time()),
            'model': MODEL,
        }

    def _chunk(self, choice: Fields, reason: str | None = None) -> bytes:
        choices = [{'index': 0, **choice, 'finish_reason': reason}]
        return event(self._head | {'object': self.chunk_kind, 'choices': choices})

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


class Message:
    """Anthropic's Messages."""

    content_type: ClassVar[str] = EVENT_STREAM
    lists: ClassVar[str] = 'messages'
    limits: ClassVar[tuple[str, ...]] = ('max_tokens',)
    streams: ClassVar[bool] = False

    def __init__(self) -> None:
        self._words = 0
        self._message: Fields = {
            'id': new_id('msg_'),
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
        return named(start) + named(begin)

    def word(self, word: str) -> bytes:
        """Return the event of a word."""
        self._words += 1
        delta = {'type': 'text_delta', 'text': word}
        return named({'type': 'content_block_delta', 'index': 0, 'delta': delta})

    def closing(self) -> bytes:
        """Return the events that end the text and the message."""
        last = {
            'type': 'message_delta',
            'delta': {'stop_reason': 'end_turn', 'stop_sequence': None},
            'usage': {'output_tokens': self._words},
        }
        block = named({'type': 'content_block_stop', 'index': 0})
        return block + named(last) + named({'type': 'message_stop'})

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
        return line(self._told(word, done=False))

    def closing(self) -> bytes:
        """Return the last line."""
        return line(self.whole('', self._words))

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
