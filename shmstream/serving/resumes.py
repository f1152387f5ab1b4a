"""Counts the requests that go on with a stream, by what they got.

A request goes on with a stream if it says where: by an offset, by the id of an event,
by a generation, or as ``useChat`` does when it comes back. ``useChat`` also asks
whenever its page is loaded, and then there is nothing to go on with, as a rule: unless
it names a generation, it is counted only if it finds a stream.
"""

from __future__ import annotations

from shmstream.errors import (
    NoRoom,
    OffsetLost,
    StreamNotFound,
    StreamReplaced,
    SupervisorUnavailable,
)
from shmstream.metrics.catalogue import REFUSALS, RESUMES
from shmstream.metrics.counts import Counts
from shmstream.serving.problems import EXHAUSTED, count_refusal
from shmstream.serving.request import Request


def goes_on(request: Request) -> bool:
    """Whether a request goes on with a stream, although it names no offset."""
    if request.chat:
        return True
    if not request.events:
        return False
    return b'last_event_id=' in request.query or bool(request.header(b'last-event-id'))


def transport_of(request: Request) -> str:
    """Return how the bytes of a GET leave (``metrics.catalogue.TRANSPORTS``)."""
    if request.chat:
        return 'chat'
    return 'events' if request.events else 'raw'


def count_resume(counts: Counts, request: Request, result: str = 'ok') -> None:
    """Count a request, if it goes on with a stream.

    Args:
        counts: what the process counts in.
        request: the request.
        result: one of the values of ``metrics.catalogue.RESUMES``.
    """
    if request.resumes and request.method == 'GET':
        counts.add(RESUMES.of(result))


def count_failure(counts: Counts, request: Request, error: Exception) -> None:
    """Count a request that gets an error, or a refusal."""
    match error:
        case OffsetLost():
            count_resume(counts, request, 'lost')
        case StreamReplaced():
            count_resume(counts, request, 'replaced')
        case StreamNotFound():
            if request.chat and b'generation=' not in request.query:
                return
            count_resume(counts, request, 'unknown')
        case SupervisorUnavailable():
            counts.add(REFUSALS.of('no_supervisor'))
        case NoRoom():
            counts.add(REFUSALS.of(error.cause))
        case OSError() if error.errno in EXHAUSTED:
            counts.add(REFUSALS.of('system'))
        case _:
            count_refusal(counts, error)
