"""How a stream ends: the last event of one that failed, and the final state."""

from __future__ import annotations

import json

from shmstream import clock
from shmstream.memory.segment import Segment
from shmstream.ring.ring import RingWriter
from shmstream.ring.state import State

EVENT_STREAM = 'text/event-stream'

DIED = 'the producer of this stream has died'
DROPPED = 'the producer was dropped'
SHUTTING_DOWN = 'the producer is shutting down'
NO_ROOM = 'no room left for this stream'
DID_NOT_BEGIN = 'the stream could not begin'
"""The message in the error event of an aborted stream, by the reason of its end."""


def is_event_stream(content_type: str) -> bool:
    """Whether a stream of this type can carry an error event."""
    return content_type.partition(';')[0].strip().lower() == EVENT_STREAM


def error_event(tail: bytes, message: str, code: int = 502) -> bytes:
    """Return the event that tells a client that the stream has failed.

    Args:
        tail: the last bytes of the stream. If they are not the end of an event, the
            result begins with a blank line, so that no client joins the error to half
            an event.
        message: what happened.
        code: the HTTP status that the error would have had before the first byte.
    """
    error = {'code': code, 'message': message, 'type': 'server_error'}
    event = f'data: {json.dumps({"error": error})}\n\n'.encode()
    if not tail or tail.endswith((b'\n\n', b'\r\n\r\n', b'\r\r')):
        return event
    return b'\n\n' + event


def end_stream(
    segment: Segment, writer: RingWriter, state: State, error: str | None = None
) -> None:
    """Publish the final state, after an error event if there is an error.

    A stream that failed before it began becomes an event stream with the error event
    alone. A stream that was cancelled before it began keeps no content type. A stream
    of another type gets no error event: its readers see the state.
    """
    if state is not State.CANCELLED and not segment.content_type:
        segment.set_content_type(EVENT_STREAM)
    if error is not None and is_event_stream(segment.content_type):
        writer.append_last(error_event(writer.tail(4), error))
    writer.finish(state, clock.moment())
