"""Recognises the dialect of a stream from the headers, or from an event."""

from __future__ import annotations

from collections.abc import Iterable

from shmstream.dialects.ag_ui import is_ag_ui
from shmstream.dialects.events import Event
from shmstream.dialects.framing import Framing
from shmstream.dialects.table import (
    AG_UI,
    ANTHROPIC,
    CHAT,
    COMPLETIONS,
    JSON_LINES,
    LANGGRAPH,
    OLLAMA,
    RESPONSES,
    SSE,
    UI,
    Dialect,
    default_dialect,
)

UI_HEADER = 'x-vercel-ai-ui-message-stream'

_RESPONSES = (
    'response.created',
    'response.queued',
    'response.in_progress',
    'response.output_',
    'response.content_part.',
    'response.reasoning_',
    'response.refusal.',
    'response.function_call_arguments.',
    'response.completed',
    'response.failed',
    'response.incomplete',
)
"""The types of OpenAI's events begin so. Some servers number none of their events, and
leave out the events' names."""

_ANTHROPIC = frozenset(
    {
        'message_start',
        'content_block_start',
        'content_block_delta',
        'content_block_stop',
        'message_delta',
    }
)

_UI = frozenset(
    {
        'text-start',
        'text-delta',
        'text-end',
        'reasoning-start',
        'reasoning-delta',
        'reasoning-end',
        'tool-input-start',
        'tool-input-delta',
    }
)


def by_headers(content_type: str, headers: Iterable[tuple[str, str]] = ()) -> Dialect:
    """Return the dialect of a stream, as far as the headers tell it.

    Args:
        content_type: the content type of the stream.
        headers: the other headers of the answer.
    """
    dialect = default_dialect(content_type)
    if dialect is SSE and any(name.lower() == UI_HEADER for name, _ in headers):
        return UI
    return dialect


def by_event(event: Event, framing: Framing, *, first: bool) -> Dialect | None:
    """Return the dialect of a stream with this event; None if the event does not tell.

    Args:
        event: an event of the stream.
        framing: the framing of the stream.
        first: whether the event is the first of the stream.
    """
    if framing is Framing.EVENTS:
        return _of_events(event, first)
    if framing is Framing.LINES:
        return _of_lines(event)
    return None


def _of_events(event: Event, first: bool) -> Dialect | None:
    if first and event.name == b'metadata':
        return LANGGRAPH
    fields, kind = event.fields, event.type
    if kind.startswith('response.') and (
        'sequence_number' in fields
        or kind.startswith(_RESPONSES)
        or kind.encode('utf-8', 'replace') == event.name
    ):
        return RESPONSES
    if kind in _ANTHROPIC:
        return ANTHROPIC
    if kind in _UI and ('id' in fields or 'toolCallId' in fields):
        return UI
    if kind == 'start' and 'messageId' in fields:
        return UI
    if is_ag_ui(event):
        return AG_UI
    choices = fields.get('choices')
    if isinstance(choices, list):
        return _of_choices(fields.get('object'), choices)
    return None


def _of_choices(kind: object, choices: list[object]) -> Dialect | None:
    if kind == 'text_completion':
        return COMPLETIONS
    if kind == 'chat.completion.chunk':
        return CHAT
    for choice in choices:
        if isinstance(choice, dict):
            return CHAT if 'delta' in choice else COMPLETIONS
    return None


def _of_lines(event: Event) -> Dialect | None:
    fields = event.fields
    if not fields:
        return None
    if 'done' in fields and 'model' in fields:
        return OLLAMA
    # Every line of Ollama has both members, so these lines are not Ollama's.
    return JSON_LINES
