"""The table of the dialects: how streams say that they are over, and tell a stop.

::

    dialect       a stream is over with           a stop is told by
    ------------  ------------------------------  --------------------------------------
    CHAT          [DONE]                          finish_reason "cancelled", [DONE]
    COMPLETIONS   [DONE]                          finish_reason "cancelled", [DONE]
    RESPONSES     response.completed, .failed,    response.incomplete with the reason
                  .incomplete, error              "cancelled"
    ANTHROPIC     message_stop                    message_stop
    UI            [DONE]; finish, but data parts  abort, [DONE]
                  may follow
    LANGGRAPH     event: end                      event: end
    AG_UI         RUN_FINISHED, RUN_ERROR; but    RUN_FINISHED with the finishReason
                  another run may follow          "cancelled"
    SSE           (the end of the body)           (a clean end)
    OLLAMA        "done": true                    "done_reason": "cancelled"
    JSON_LINES    "done": true in the last line   (a clean end)
    JSON_RECORDS  "done": true in the last line   (a clean end)
    OTHER         (the end of the body)           (a clean end)

A failure is told by the same event in all dialects of server-sent events but AG_UI, and
by the same line in all dialects of JSON lines. ``OTHER`` cannot tell a failure.
``[DONE]`` is an end in every dialect of server-sent events, because no server sends it
before the end. Where more may follow an end, an open connection is not cut: the end
counts when the connection ends, in whatever way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from shmstream.dialects import ag_ui, frames
from shmstream.dialects.events import Event
from shmstream.dialects.frames import Said, Stop
from shmstream.dialects.framing import Framing, framing_of


@dataclass(frozen=True)
class Dialect:
    """One row of the table.

    An event that says that the stream is over is called an end here.

    Attributes:
        number: stands for the dialect in a segment. A number is never used again for
            another dialect.
        name: the name of the dialect, for people.
        framing: how the events end.
        marks: pieces of bytes. An end contains at least one of them.
        ends: returns whether an event is an end.
        stop: returns the frame that tells a stop.
        fail: returns the frame that tells a failure. None: it is that of the framing.
        closes: returns whether an event is an end that nothing may follow. None: that
            is so of every end.
        only_last: whether an end counts only while it is the last event.
        always_said: whether every complete stream has an end. If not, a stream is also
            complete with the clean end of its body.
        pattern: what an end contains as well, where ``marks`` are in many events.
    """

    number: int
    name: str
    framing: Framing
    marks: tuple[bytes, ...]
    ends: Callable[[Event], bool]
    stop: Stop
    fail: Callable[[str, Said], bytes] | None = None
    closes: Callable[[Event], bool] | None = None
    only_last: bool = False
    always_said: bool = True
    pattern: re.Pattern[bytes] | None = None

    def may_end(self, block: bytes) -> bool:
        """Whether a block of events has to be searched for an end."""
        for mark in self.marks:
            if mark in block:
                return self.pattern is None or self.pattern.search(block) is not None
        return False

    def is_over(self, events: list[Event]) -> bool:
        """Whether a stream with these last events has said that it is over."""
        return any(map(self.ends, events[-1:] if self.only_last else events))

    def is_closed(self, events: list[Event]) -> bool:
        """Whether nothing may follow these events."""
        return any(map(self.closes or self.ends, events))

    def failure(self, message: str, said: Said) -> bytes:
        """Return the frame that tells a failure; empty if the dialect cannot tell one.

        Args:
            message: why the stream has failed.
            said: the first and the last events of the stream.
        """
        if self.fail is not None:
            return self.fail(message, said)
        if self.framing is Framing.OPAQUE:
            return b''
        if self.framing is Framing.EVENTS:
            # Clients read the sequence number 0 as none.
            return frames.failure_event(message)
        mark = b'\x1e' if self.framing is Framing.RECORDS else b''
        return mark + frames.failure_line(message)


def _done(event: Event) -> bool:
    return event.data.strip() == b'[DONE]'


def _done_line(event: Event) -> bool:
    return event.fields.get('done') is True


def _named(*types: str) -> Callable[[Event], bool]:
    """Return a function that finds events of these types, and ``[DONE]``."""
    return lambda event: _done(event) or event.type in types


def _end_of_message(event: Event) -> bool:
    # Clients go by the name, whatever the data is.
    return event.name == b'message_stop' or _STOPPED(event)


def _end_of_run(event: Event) -> bool:
    return event.name == b'end' or _done(event)


def _never(event: Event) -> bool:
    return False


_RESPONSE_ENDS = (
    'response.completed',
    'response.failed',
    'response.incomplete',
    'error',
)


def _quoted(*types: str) -> tuple[bytes, ...]:
    return tuple(f'"{kind}"'.encode() for kind in types)


_DONE = b'[DONE]'
_STOPPED = _named('message_stop')
_DONE_MARKS = (b'"done"',)
# Every line of Ollama has the mark. Servers differ in the blanks that they write.
_DONE_LINE = re.compile(rb'"done"\s*:\s*true')
_EVENTS, _LINES = Framing.EVENTS, Framing.LINES

CHAT = Dialect(1, 'OpenAI chat', _EVENTS, (_DONE,), _done, frames.stop_chat)
COMPLETIONS = Dialect(
    2, 'OpenAI completions', _EVENTS, (_DONE,), _done, frames.stop_completion
)
RESPONSES = Dialect(
    3,
    'OpenAI Responses',
    _EVENTS,
    (*_quoted(*_RESPONSE_ENDS), _DONE),
    _named(*_RESPONSE_ENDS),
    frames.stop_response,
    frames.failure_of_response,
)
ANTHROPIC = Dialect(
    4,
    'Anthropic Messages',
    _EVENTS,
    (b'message_stop', _DONE),
    _end_of_message,
    frames.stop_message,
)
UI = Dialect(
    5,
    'UI message stream',
    _EVENTS,
    (b'"finish"', _DONE),
    _named('finish'),
    frames.stop_ui,
    closes=_done,
)
LANGGRAPH = Dialect(
    6,
    'LangGraph',
    _EVENTS,
    (b'event: end', b'event:end', _DONE),
    _end_of_run,
    frames.stop_langgraph,
)
SSE = Dialect(
    7,
    'server-sent events',
    _EVENTS,
    (_DONE,),
    _done,
    frames.no_word,
    always_said=False,
)
OLLAMA = Dialect(
    8,
    'Ollama',
    _LINES,
    _DONE_MARKS,
    _done_line,
    frames.stop_ollama,
    pattern=_DONE_LINE,
)
JSON_LINES = Dialect(
    9,
    'JSON lines',
    _LINES,
    _DONE_MARKS,
    _done_line,
    frames.no_word,
    closes=_never,
    only_last=True,
    always_said=False,
    pattern=_DONE_LINE,
)
JSON_RECORDS = Dialect(
    10,
    'JSON text sequence',
    Framing.RECORDS,
    _DONE_MARKS,
    _done_line,
    frames.no_word,
    closes=_never,
    only_last=True,
    always_said=False,
    pattern=_DONE_LINE,
)
OTHER = Dialect(
    11,
    'no dialect',
    Framing.OPAQUE,
    (),
    _never,
    frames.no_word,
    always_said=False,
)
AG_UI = Dialect(
    12,
    'AG-UI',
    _EVENTS,
    (*_quoted(*ag_ui.ENDS), _DONE),
    _named(*ag_ui.ENDS),
    ag_ui.stop,
    ag_ui.failure,
    closes=_done,
    only_last=True,
)

_ALL = (
    *(CHAT, COMPLETIONS, RESPONSES, ANTHROPIC, UI, LANGGRAPH, AG_UI, SSE),
    *(OLLAMA, JSON_LINES, JSON_RECORDS, OTHER),
)

DIALECTS = {dialect.number: dialect for dialect in _ALL}
"""All dialects, by their numbers."""

_DEFAULTS = {
    Framing.EVENTS: SSE,
    Framing.LINES: JSON_LINES,
    Framing.RECORDS: JSON_RECORDS,
    Framing.OPAQUE: OTHER,
}


def default_dialect(content_type: str) -> Dialect:
    """Return the dialect of a stream of which only the content type is known."""
    return _DEFAULTS[framing_of(content_type)]
