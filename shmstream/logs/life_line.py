"""One line about each stream, at its end.

Who writes it::

    the stream ends                         written by
    --------------------------------------  ------------------------------------------
    its producer ends it                    the producer's process, after the end is
                                            published and before the lock is released
    its process dies before the end         the supervisor, which ends the stream
    its process dies after the end, before  the supervisor, which finds that the word
      the line                              cause lacks ``TOLD``, and the lock is free

So there is one line, whoever dies. ``TOLD`` is added right after the line. A process
that is killed between these two, for which it has some microseconds, leaves a second
line. One that is killed after the supervisor has ended with its deployment leaves none.

The line goes to the logger ``shmstream.streams`` at ``INFO``. If that level is off, a
stream costs one check at its end. The supervisor writes at the level of the process
that has started it. What is in the line comes from the segment's header, and the
request's id from the producer. Nothing of a stream's content is in it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback

from shmstream import clock
from shmstream.errors import SettingsError
from shmstream.ids import NOBODY
from shmstream.logs.cause import cause_of
from shmstream.logs.form import id_form
from shmstream.memory.segment import Segment
from shmstream.ring.layout import (
    TOLD,
    W_ASKED,
    W_ASKED_BOOT,
    W_CAUSE,
    W_COMPLETED,
    W_CREATED,
    W_ENDED,
    W_ENDED_BOOT,
    W_FIRST_BYTE,
    W_SPAN,
    W_TRACE,
    W_UPSTREAM_STATUS,
)
from shmstream.ring.state import State

log = logging.getLogger('shmstream.streams')

_HASH_DIGITS = 16
"""Digits of the session's digest that stand for its id: those of its file's name."""

_OWNER_DIGITS = 8

_PLAIN = re.compile(r'[A-Za-z0-9._:/@-]+')
"""Texts that are shown without quotation marks."""

_MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(MemoryError, OSError, RuntimeError, TypeError, ValueError, SettingsError),
)
"""What a handler or a filter of the application could raise. What else is raised comes
from a signal handler, and is passed on (``Producer``)."""

Fields = dict[str, str | int | float]


class LifeLine:
    """The message of the record: as text when it is shown.

    Args:
        fields: the fields of the line.

    Attributes:
        short: the message where the fields are shown in a form of their own.
    """

    short = 'stream ended'

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def __str__(self) -> str:
        parts = (f'{name}={_shown(value)}' for name, value in self._fields.items())
        return f'{self.short}: {" ".join(parts)}'


def _shown(value: str | int | float) -> str:
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        # ASCII only, because other characters may end a line, or reverse it.
        return json.dumps(value)
    return str(value)


def told(segment: Segment) -> bool:
    """Whether the line of this stream has been written, or is not wanted."""
    return bool(segment.words[W_CAUSE] & TOLD)


def tell(segment: Segment, request_id: str = '') -> None:
    """Write the line of a stream that has ended, for the holder of its lock.

    A stream whose line has been written gets none. A mistake in the making of the line
    is shown on stderr, because the log itself may have failed.

    Args:
        segment: the segment of the stream.
        request_id: the request's id, which is valid; empty if it is not known.
    """
    if told(segment):
        return
    try:
        if log.isEnabledFor(logging.INFO):
            fields = fields_of(segment, request_id)
            log.info(LifeLine(fields), extra=fields)
    except _MISTAKES:
        traceback.print_exc(file=sys.stderr)
    segment.words[W_CAUSE] |= TOLD


def fields_of(segment: Segment, request_id: str = '') -> Fields:
    """Return what the line says. What is not known is not there.

    Args:
        segment: the segment of a stream that has ended.
        request_id: the request's id; empty if it is not known.
    """
    words = segment.words
    state = segment.reader.producer_state
    followers, resumes = segment.followers.served()
    fields: Fields = {}
    if (form := id_form()) == 'plain':
        fields['conversation_id'] = segment.conv_id
    elif form == 'hashed':
        fields['conversation_id'] = segment.digest[:_HASH_DIGITS]
    if segment.owner != NOBODY:
        fields['owner'] = segment.owner.hex()[:_OWNER_DIGITS]
    fields |= {
        'generation': segment.generation,
        'state': state.label if state.final else State.ABORTED.label,
        'cause': cause_of(words[W_CAUSE] % TOLD).label,
        'bytes': segment.reader.total_bytes,
        'seconds': _seconds(segment),
    }
    if first_ns := words[W_FIRST_BYTE]:
        since_asked = max(first_ns - words[W_ASKED], 0)
        fields['first_byte_seconds'] = round(since_asked / clock.NS, 3)
    fields |= {'followers': followers, 'resumes': resumes}
    if status := words[W_UPSTREAM_STATUS]:
        fields['upstream_status'] = status
    if request_id:
        fields['request_id'] = request_id
    if trace_id := trace_of(segment)[0]:
        fields['trace_id'] = f'{trace_id:032x}'
    return fields


def _seconds(segment: Segment) -> float:
    words = segment.words
    span_ns = words[W_ENDED] - words[W_ASKED]
    if words[W_ENDED_BOOT] != words[W_ASKED_BOOT]:
        # The machine was booted within its life, so only the wall clock knows.
        span_ns = words[W_COMPLETED] - words[W_CREATED]
    return round(max(span_ns, 0) / clock.NS, 3)


# -- what only the line needs ----------------------------------------------------------


def set_trace(segment: Segment, trace_id: int, span_id: int) -> None:
    """Store the trace of the request that began a stream, for the producer.

    Args:
        segment: the segment.
        trace_id: 128 bits.
        span_id: 64 bits.
    """
    segment.words[W_TRACE] = trace_id >> 64
    segment.words[W_TRACE + 1] = trace_id & (1 << 64) - 1
    segment.words[W_SPAN] = span_id


def trace_of(segment: Segment) -> tuple[int, int]:
    """Return the trace id and the span id of a stream's request; zeros: none."""
    words = segment.words
    return words[W_TRACE] << 64 | words[W_TRACE + 1], words[W_SPAN]


def set_upstream_status(segment: Segment, status: int) -> None:
    """Store the status of the upstream's answer, for the producer."""
    segment.words[W_UPSTREAM_STATUS] = status
