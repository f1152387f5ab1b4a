"""Where a replay begins: at an offset, after an event, or where a range begins."""

from __future__ import annotations

import functools
from collections.abc import Callable

from shmstream.consumer import Consumer
from shmstream.errors import OffsetLost
from shmstream.serving.last_event import offset_after
from shmstream.serving.problems import Problem
from shmstream.serving.request import Request

Start = int | Callable[[Consumer], int]
"""Where a replay begins: an offset, or a search for it, which may raise ``OffsetLost``.
"""


def start_of(request: Request) -> Start:
    """Return where the client of a stream wants to begin.

    Raises:
        Problem: 400, the offset is not a plain decimal number below 2^63.
    """
    start = request.start()
    if isinstance(start, int):
        return start
    return functools.partial(offset_after, event_id=start)


def begin_of(
    request: Request, consumer: Consumer, start: Start, ended: bool
) -> tuple[int, int]:
    """Return the status, and the offset to begin at.

    Raises:
        OffsetLost: the ring has dropped it.
        Problem: 416, the range begins beyond the end.
    """
    status = 200
    if not isinstance(start, int):
        offset = start(consumer)
    elif ended and (first := _first_of_range(request, consumer)) is not None:
        status, offset = 206, first
    else:
        offset = start
    if offset < consumer.dropped_prefix:
        raise OffsetLost(offset, consumer.dropped_prefix, consumer.total_bytes)
    return status, offset


def _first_of_range(request: Request, consumer: Consumer) -> int | None:
    """Return where the range of an ended stream begins that is asked for, if one is."""
    first = request.first_of_range()
    if first is None or consumer.untold_failure:
        # A response that is cut has no length, and so is no part of a known whole.
        return None
    total = consumer.total_bytes
    if first >= total:
        raise Problem(416, f'The stream has only {total} bytes', total_bytes=total)
    return first
