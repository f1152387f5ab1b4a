"""The headers that say what the body of a stream is, and where a stream is found."""

from __future__ import annotations

import os
from urllib.parse import quote

from shmstream.consumer import Consumer
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.ring.state import State

_ALWAYS = [
    # No transform: an offset into what a proxy has compressed is of no use to anybody.
    (b'cache-control', b'no-store, no-transform'),
    (b'x-accel-buffering', b'no'),
    (b'x-content-type-options', b'nosniff'),
]


_STATES = {state: state.label.encode() for state in State}


def described(
    consumer: Consumer, offset: int, ended: bool, state: State
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a stream that is sent from this offset on.

    Args:
        consumer: the stream.
        offset: the first byte.
        ended: whether it has ended, looked at before its state.
        state: its state.
    """
    if state is State.CANCELLED and not ended:
        # Its producer has not noticed yet, and may still write.
        state = State.LIVE
    return [
        (b'content-type', (consumer.content_type or EVENT_STREAM).encode('latin-1')),
        *_ALWAYS,
        (b'stream-offset', b'%d' % offset),
        (b'stream-state', _STATES[state]),
        (b'stream-generation', consumer.generation.encode()),
        (b'stream-worker', b'%d' % os.getpid()),
    ]


def location(mount: str, conv_id: str) -> str:
    """Return the address of a stream, relative to the service.

    Args:
        mount: the address that streams are mounted at.
        conv_id: the stream's id.
    """
    if conv_id in ('.', '..'):
        # As a path they would be taken for a folder.
        return f'{mount}?conv_id={conv_id}'
    return f'{mount}/{quote(conv_id, safe="")}'
