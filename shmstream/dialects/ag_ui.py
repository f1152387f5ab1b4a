"""The frames of AG-UI, the protocol of TanStack AI, CopilotKit and others.

A run ends with ``RUN_FINISHED`` or ``RUN_ERROR``. A client that gets neither comes back
for the rest (TanStack AI's goes by these two only), so a failure and a stop are told by
them. Before ``RUN_FINISHED`` a client wants all that the run has opened to be closed,
the newest first. If that takes more room than a frame has, a stop is told by
``RUN_ERROR``, which may come at any time::

    opened by                    closed by                  which one
    ---------------------------  -------------------------  ----------
    TEXT_MESSAGE_START           TEXT_MESSAGE_END           messageId
    TOOL_CALL_START              TOOL_CALL_END              toolCallId
    STEP_STARTED                 STEP_FINISHED              stepName
    REASONING_START              REASONING_END              messageId
    REASONING_MESSAGE_START      REASONING_MESSAGE_END      messageId
    THINKING_START               THINKING_END               the only one
    THINKING_TEXT_MESSAGE_START  THINKING_TEXT_MESSAGE_END  the only one

The protocol: https://docs.ag-ui.com/concepts/events.
"""

from __future__ import annotations

from typing import Final

from shmstream.dialects.events import Event
from shmstream.dialects.frames import (
    MAX_BEFORE,
    MAX_FRAME,
    Said,
    cut_to_fit,
    event_of,
    repeated,
)

ENDS: Final = ('RUN_FINISHED', 'RUN_ERROR')
"""The types of the events that end a run."""

_PARTS: Final = {
    'TEXT_MESSAGE': ('messageId', 'TEXT_MESSAGE_END'),
    'TOOL_CALL': ('toolCallId', 'TOOL_CALL_END'),
    'STEP': ('stepName', 'STEP_FINISHED'),
    'REASONING': ('messageId', 'REASONING_END'),
    'REASONING_MESSAGE': ('messageId', 'REASONING_MESSAGE_END'),
    'THINKING': ('', 'THINKING_END'),
    'THINKING_TEXT_MESSAGE': ('', 'THINKING_TEXT_MESSAGE_END'),
}
_OPENING: Final = {
    **{f'{part}_START': part for part in _PARTS},
    'STEP_STARTED': 'STEP',
    'TEXT_MESSAGE_CONTENT': 'TEXT_MESSAGE',
    'TOOL_CALL_ARGS': 'TOOL_CALL',
    'REASONING_MESSAGE_CONTENT': 'REASONING_MESSAGE',
    'THINKING_TEXT_MESSAGE_CONTENT': 'THINKING_TEXT_MESSAGE',
}
_CLOSING: Final = {closes: part for part, (_, closes) in _PARTS.items()}

_TYPES: Final = frozenset(
    {'RUN_STARTED', *ENDS, *_OPENING, *_CLOSING, 'TEXT_MESSAGE_CHUNK'}
)


def is_ag_ui(event: Event) -> bool:
    """Whether this is an event of AG-UI."""
    return event.type in _TYPES


def failure(message: str, said: Said) -> bytes:
    """Return the event that tells a failure.

    Args:
        message: why the stream has failed. It is cut if the event would be too long.
        said: the first and the last events of the stream.
    """
    # ``name`` is what ``frames.is_failure`` knows the event by.
    more = {'code': '502', 'name': 'UpstreamError'}
    run = _run(said)
    return cut_to_fit(lambda text: _error(run, text, **more), message)


def stop(said: Said) -> bytes:
    """Return the events that close what is open, and end the run."""
    run = _run(said)
    finished = {'type': 'RUN_FINISHED', **run, 'finishReason': 'cancelled'}
    told = b''.join([*_closes(said), event_of(finished)])
    if len(told) + MAX_BEFORE > MAX_FRAME:
        return _error(run, 'stopped', code='cancelled')
    return told


def _closes(said: Said) -> list[bytes]:
    met: set[tuple[str, object]] = set()
    closes: list[bytes] = []
    # The newest event of a part is met first, and only this one counts.
    for event in reversed(said.last):
        part = _OPENING.get(event.type) or _CLOSING.get(event.type)
        if part is None:
            continue
        name, kind = _PARTS[part]
        which = repeated(event.fields, name) if name else {}
        key = part, which.get(name)
        if key in met or (name and not which):
            continue
        met.add(key)
        if event.type in _OPENING:
            closes.append(event_of({'type': kind, **which}))
    return closes


def _error(run: dict[str, object], message: str, **more: str) -> bytes:
    return event_of({'type': 'RUN_ERROR', **run, 'message': message, **more})


def _run(said: Said) -> dict[str, object]:
    """Return the ids of the newest run: some servers repeat them in every event."""
    for event in reversed(said.first + said.last):
        ids: dict[str, object] = repeated(event.fields, 'threadId', 'runId')
        if ids:
            return ids
    return {}
