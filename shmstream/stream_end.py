"""How a stream ends: what is said last in its own dialect, and the final state."""

from __future__ import annotations

from shmstream import clock
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.dialects.last_words import last_words
from shmstream.errors import OffsetLost
from shmstream.memory.segment import Segment
from shmstream.ring.ring import RingReader, RingWriter
from shmstream.ring.state import State

DIED = 'the producer of this stream has died'
DROPPED = 'the producer was dropped'
SHUTTING_DOWN = 'the producer is shutting down'
NO_ROOM = 'no room left for this stream'
DID_NOT_BEGIN = 'the stream could not begin'
UNKNOWN = 'the stream has failed'
"""What readers of an aborted stream are told, by what has ended it."""


def end_stream(
    segment: Segment, writer: RingWriter, state: State, error: str | None = None
) -> State:
    """Publish the final state, after the word of a failure or of a stop.

    An answer that failed before it began becomes an event stream of that event alone;
    one that was cancelled before it began stays without a type, and is no answer.

    A stream that has said itself that it is over is complete, whatever came after that.
    One of a type that cannot tell a failure ends where it is, and why is kept in its
    segment: its readers are cut.

    Args:
        segment: the stream's.
        writer: its writer: the caller holds the segment's lock.
        state: the final state.
        error: what its readers are told if it has been aborted.

    Returns:
        The state that it has ended in.
    """
    if state is not State.CANCELLED and not segment.content_type:
        segment.set_content_type(EVENT_STREAM)
    if state is State.ABORTED:
        error = UNKNOWN if error is None else error
        state = _say_last(segment, writer, state, error)
    elif state is State.CANCELLED and segment.content_type:
        state = _say_last(segment, writer, state, None)
    writer.finish(state, clock.moment())
    return state


def _say_last(
    segment: Segment, writer: RingWriter, state: State, error: str | None
) -> State:
    """Append what is to be said; return the state that the stream ends in."""
    reader = segment.reader
    words = last_words(
        segment.content_type,
        segment.dialect,
        lambda size: b'' if reader.dropped_prefix else _read(reader, 0, size),
        lambda size: _tail(reader, size),
        error,
    )
    if words.over:
        return State.COMPLETE
    told = words.told and (not words.frame or writer.append_last(words.frame))
    if error is not None and not told:
        segment.set_failure(error or UNKNOWN)
    return state


def _tail(reader: RingReader, size: int) -> bytes:
    start = max(reader.total_bytes - size, reader.dropped_prefix)
    return _read(reader, start, size)


def _read(reader: RingReader, offset: int, size: int) -> bytes:
    try:
        return reader.read(offset, size)
    except OffsetLost:
        # Nobody writes to it now: its header is damaged.
        return b''
