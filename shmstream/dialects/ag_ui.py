"""The frames of AG-UI, the protocol of TanStack AI, CopilotKit and others.

A run ends with ``RUN_FINISHED`` or ``RUN_ERROR``. A client that gets neither comes back
for the rest (TanStack AI's goes by these two only), so a failure and a stop are told by
them. Before ``RUN_FINISHED`` a client wants all that the run has opened to be closed::

    opened by           closed by         which one
    ------------------  ----------------  ----------
    TEXT_MESSAGE_START  TEXT_MESSAGE_END  messageId
    TOOL_CALL_START     TOOL_CALL_END     toolCallId
    STEP_STARTED        STEP_FINISHED     stepName

The protocol: https://docs.ag-ui.com/concepts/events.
"""

from __future__ import annotations

from typing import Final

from shmstream.dialects.events import Event
from shmstream.dialects.frames import Said, cut_to_fit, event_of, repeated

ENDS: Final = ('RUN_FINISHED', 'RUN_ERROR')
"""The types of the events that end a run."""

_PARTS: Final = {
    'TEXT_MESSAGE': ('messageId', 'TEXT_MESSAGE_END'),
    'TOOL_CALL': ('toolCallId', 'TOOL_CALL_END'),
    'STEP': ('stepName', 'STEP_FINISHED'),
}
_OPENING: Final = {
    'TEXT_MESSAGE_START': 'TEXT_MESSAGE',
    'TEXT_MESSAGE_CONTENT': 'TEXT_MESSAGE',
    'TOOL_CALL_START': 'TOOL_CALL',
    'TOOL_CALL_ARGS': 'TOOL_CALL',
    'STEP_STARTED': 'STEP',
}
_CLOSING: Final = {closes: part for part, (_, closes) in _PARTS.items()}
_MOST_OPEN = 4

_BEGINNINGS: Final = frozenset(
    {'RUN_STARTED', *ENDS, *_OPENING, *_CLOSING, 'TEXT_MESSAGE_CHUNK'}
)


def is_ag_ui(event: Event) -> bool:
    """Whether this is an event of AG-UI."""
    return event.type in _BEGINNINGS


def failure(message: str, said: Said) -> bytes:
    """Return the event that tells a failure.

    Args:
        message: why the stream has failed. It is cut if the event would be too long.
        said: the first and the last events of the stream.
    """
    run = _run(said)

    def frame(text: str) -> bytes:
        # ``name`` is what ``frames.is_failure`` knows the event by.
        told = {'message': text, 'code': '502', 'name': 'UpstreamError'}
        return event_of({'type': 'RUN_ERROR', **run, **told})

    return cut_to_fit(frame, message)


def stop(said: Said) -> bytes:
    """Return the events that close what is open, and end the run."""
    closed: set[tuple[str, object]] = set()
    closes: list[bytes] = []
    # The newest event of a part is met first, and only this one counts.
    for event in reversed(said.last):
        part = _OPENING.get(event.type) or _CLOSING.get(event.type)
        if part is None or len(closes) == _MOST_OPEN:
            continue
        name, kind = _PARTS[part]
        which = repeated(event.fields, name)
        if not which or (part, which[name]) in closed:
            continue
        closed.add((part, which[name]))
        if event.type in _OPENING:
            closes.append(event_of({'type': kind, **which}))
    finished = {'type': 'RUN_FINISHED', **_run(said), 'finishReason': 'cancelled'}
    return b''.join([*closes, event_of(finished)])


def _run(said: Said) -> dict[str, object]:
    """Return the ids of the newest run: some servers repeat them in every event."""
    for event in reversed(said.first + said.last):
        ids: dict[str, object] = repeated(event.fields, 'threadId', 'runId')
        if ids:
            return ids
    return {}
