"""The headers that describe a stream, and the address of a stream."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import quote

from shmstream.consumer import Consumer
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.kept_headers import kept
from shmstream.response_headers import ALWAYS
from shmstream.ring.state import State

_worker: list[tuple[bytes, bytes]] = []
"""The header that names this process. It is kept, because asking the kernel for the pid
of each response would cost as much as all the other headers."""


def _name_worker() -> None:
    _worker[:] = [(b'stream-worker', b'%d' % os.getpid())]


_name_worker()
os.register_at_fork(after_in_child=_name_worker)

_STATES = {state: state.label.encode() for state in State}


def described(
    consumer: Consumer, offset: int, ended: bool, state: State
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response that sends a stream from this offset on.

    Args:
        consumer: the stream.
        offset: the first byte that is sent.
        ended: whether the stream has ended. The caller reads this before ``state``.
        state: the stream's state.
    """
    if state is State.CANCELLED and not ended:
        # The producer has not noticed the cancel yet, and may still write.
        state = State.LIVE
    lines = consumer.kept_headers
    return [
        (b'content-type', (consumer.content_type or EVENT_STREAM).encode('latin-1')),
        *ALWAYS,
        (b'stream-offset', b'%d' % offset),
        (b'stream-state', _STATES[state]),
        (b'stream-generation', consumer.generation.encode()),
        *_worker,
        *(kept(lines) if lines else ()),
    ]


def addresses(
    mount: str, conv_id: str, answered: Iterable[tuple[str, str]]
) -> list[tuple[bytes, bytes]]:
    """Return the headers that say where the stream of a POST is found.

    ``Content-Location`` is always set. ``Location`` is not set if the upstream's answer
    has one, because the upstream's clients need that one to find the answer again.

    Args:
        mount: the path that streams are mounted at.
        conv_id: the stream's id.
        answered: the headers of the upstream's answer.
    """
    ours = location(mount, conv_id).encode()
    found: list[tuple[bytes, bytes]] = [(b'content-location', ours)]
    if not any(name.lower() == 'location' for name, _ in answered):
        found.append((b'location', ours))
    return found


def location(mount: str, conv_id: str) -> str:
    """Return the address of a stream, relative to the service.

    Args:
        mount: the path under which streams are found.
        conv_id: the stream's id.
    """
    if conv_id in ('.', '..'):
        # In a path, a client would take these two for folders and resolve them.
        return f'{mount}?conv_id={conv_id}'
    return f'{mount}/{quote(conv_id, safe="")}'
