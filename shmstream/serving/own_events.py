"""What is told beside the events of the stream: its end, a loss, another stream."""

from __future__ import annotations

import json
from typing import Any

from shmstream.consumer import Consumer
from shmstream.ring.state import State
from shmstream.serving.event_id import id_line

NAMES = frozenset({b'error', b'end', b'lost', b'replaced'})
"""Names that no event of the stream keeps: those of the events below, and that of the
browser's own event for a lost connection."""

RETRY = b'retry: 1000\n'
"""Milliseconds after which a client comes back. It is no event, but the first line of
the first one: some clients take each blank line for an event."""

PING = b': ping\n'
"""A comment, for proxies and clients that take silence for a dead connection."""

COME_BACK = RETRY + b': come back\n'
"""The body of a reply that is cut: the answer has not begun, or is not to be had here
and now."""

_UNKNOWN = {'message': 'the stream was aborted'}


def end(consumer: Consumer, error: Any = None) -> bytes:
    """Return the last event of a stream that has ended.

    Args:
        consumer: the stream.
        error: what an event of the stream has told of its failure, if one has.
    """
    total, state = consumer.total_bytes, consumer.state
    told: dict[str, Any] = {'state': state.label, 'total_bytes': total}
    if state is State.ABORTED:
        untold = consumer.untold_failure
        told['error'] = error or ({'message': untold} if untold else _UNKNOWN)
    return _event(b'end', told, id_line(consumer.generation, total))


def lost(consumer: Consumer) -> bytes:
    """Return the event that tells that the ring has dropped what the client lacks."""
    prefix, total = consumer.dropped_prefix, consumer.total_bytes
    return _event(b'lost', {'dropped_prefix': prefix, 'total_bytes': total})


def replaced(consumer: Consumer) -> bytes:
    """Return the event that tells that the client's stream was another one."""
    return _event(b'replaced', {'generation': consumer.generation})


def _event(name: bytes, data: dict[str, Any], more: bytes = b'') -> bytes:
    encoded = json.dumps(data).encode()
    return b'event: %s\ndata: %s\n%s\n' % (name, encoded, more)
