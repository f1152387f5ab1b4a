"""Ends a stream: writes the last frame in the stream's dialect, and the final state."""

from __future__ import annotations

import logging

from shmstream import clock
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.dialects.last_words import LastWords, last_words
from shmstream.errors import OffsetLost
from shmstream.logs.cause import Cause, cause_of
from shmstream.memory.segment import Segment
from shmstream.ring.layout import W_CANCELLED_BY, W_CAUSE
from shmstream.ring.ring import RingReader, RingWriter
from shmstream.ring.state import State

log = logging.getLogger('shmstream')

DIED = 'the producer of this stream has died'
DROPPED = 'the producer was dropped'
SHUTTING_DOWN = 'the producer is shutting down'
NO_ROOM = 'no room left for this stream'
DID_NOT_BEGIN = 'the stream could not begin'
UNKNOWN = 'the stream has failed'
"""Why a stream was aborted, as its readers are told."""

_CAUSES = {
    DIED: Cause.DIED,
    DROPPED: Cause.DROPPED,
    SHUTTING_DOWN: Cause.LEAVING,
    NO_ROOM: Cause.NO_ROOM,
}

_MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(MemoryError, RuntimeError, TypeError, ValueError),
)
"""What the making of a last frame could raise. What else is raised there comes from a
signal handler, and is passed on (``Producer``)."""


def end_stream(
    segment: Segment,
    writer: RingWriter,
    state: State,
    error: str | None = None,
    cause: Cause | None = None,
) -> State:
    """Write the frame that tells a failure or a stop, then publish the final state.

    A stream that failed before it began becomes an event stream with one event, which
    tells the failure. A stream that was cancelled before it began has no content type,
    and nothing is written.

    A stream that has said itself that it is over ends as complete, whatever came after
    that. If the dialect of a stream cannot tell a failure, nothing is written. Then the
    reason is stored in the segment, and the responses of the readers are cut. So it is
    if the frame cannot be made: no stream stays live because of a mistake in that.

    Args:
        segment: the segment of the stream.
        writer: the writer of the ring. The caller holds the segment's lock.
        state: the final state.
        error: what the readers are told if the stream is aborted.
        cause: why the stream ends, for the log; None: as its state and ``error`` say.

    Returns:
        The state in which the stream has ended.
    """
    if state is not State.CANCELLED and not segment.content_type:
        segment.set_content_type(EVENT_STREAM)
    if state is State.ABORTED:
        error = UNKNOWN if error is None else error
        state = _say_last(segment, writer, state, error)
    elif state is State.CANCELLED and segment.content_type:
        state = _say_last(segment, writer, state, None)
    segment.words[W_CAUSE] = _cause(segment, state, error, cause)
    writer.finish(state, clock.moment())
    return state


def _cause(
    segment: Segment, state: State, error: str | None, noted: Cause | None
) -> Cause:
    if state is State.COMPLETE:
        return Cause.COMPLETE
    if state is State.CANCELLED and segment.cancelled:
        return cause_of(segment.words[W_CANCELLED_BY])
    if noted is not None:
        return noted
    if state is State.CANCELLED:
        return Cause.GIVEN_UP
    return _CAUSES.get(error or '', Cause.FAILED)


def _say_last(
    segment: Segment, writer: RingWriter, state: State, error: str | None
) -> State:
    """Append the last frame; return the state in which the stream ends."""
    words = _words(segment, error)
    if words.over:
        return State.COMPLETE
    told = words.told and (not words.frame or writer.append_last(words.frame))
    if error is not None and not told:
        segment.set_failure(error or UNKNOWN)
    return state


def _words(segment: Segment, error: str | None) -> LastWords:
    reader = segment.reader
    try:
        return last_words(
            segment.content_type,
            segment.dialect,
            lambda size: b'' if reader.dropped_prefix else _read(reader, 0, size),
            lambda size: _tail(reader, size),
            error,
        )
    except _MISTAKES:
        log.exception('stream %s ends without a last event', segment.generation)
        return LastWords(False, b'', told=error is None)


def _tail(reader: RingReader, size: int) -> bytes:
    start = max(reader.total_bytes - size, reader.dropped_prefix)
    return _read(reader, start, size)


def _read(reader: RingReader, offset: int, size: int) -> bytes:
    try:
        return reader.read(offset, size)
    except OffsetLost:
        # No other process writes to the ring now, so its header is damaged.
        return b''
