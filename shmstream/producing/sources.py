"""What may be the source of a stream, and how a source is closed.

::

    a source                                      is run
    --------------------------------------------  --------------------------------------
    an async iterable (an async generator, the    by ``start``: in a task on the running
    stream of an async client, ...)               event loop; by ``start_in_thread``: on
                                                  an event loop of the thread's own
    an iterable (a generator, a list, ...)        in a thread, because its steps block
    a function of one argument, ``cancelled``,    in a thread, from its call on
    that returns one of the above
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from shmstream.errors import LocalError

log = logging.getLogger('shmstream')

CLOSE_S = 5.0
"""Seconds that a source may take to close, on an event loop."""

Items: TypeAlias = AsyncIterable[Any] | Iterable[Any]
Source: TypeAlias = Items | Callable[[threading.Event], Items]

_NO_SOURCES = (str, bytes, bytearray, memoryview, Mapping)


def is_async(source: object) -> bool:
    """Whether a source is iterated by ``async for``."""
    return isinstance(source, AsyncIterable)


def check(source: object) -> None:
    """Refuse what cannot be a source.

    Raises:
        LocalError: it is a text, bytes, a mapping, a coroutine, or not iterable.
    """
    if inspect.iscoroutine(source):
        source.close()
        raise LocalError('a coroutine is no source: await it, and pass its result')
    iterable = isinstance(source, (AsyncIterable, Iterable))
    if isinstance(source, _NO_SOURCES) or not (iterable or callable(source)):
        raise LocalError(
            'a source is an iterator, an async iterator, or a function that returns'
            f' one, not a {type(source).__name__}'
        )


def called(source: Source, cancelled: threading.Event) -> Items:
    """Return the iterable of a source, which may be a function that has to be called.

    Raises:
        LocalError: the function returns something else.
        Whatever the function raises.
    """
    if isinstance(source, (AsyncIterable, Iterable)):
        return source
    items = source(cancelled)
    check(items)
    if not isinstance(items, (AsyncIterable, Iterable)):
        raise LocalError('the source is a function that returns a function')
    return items


async def close_async(*parts: object) -> None:
    """Close an async source: what it is, and what iterates over it.

    Waits for each part, ``CLOSE_S`` at the most. A failure is logged.
    """
    for part in dict.fromkeys(map(_Same, parts)):
        close: Any = getattr(part.it, 'aclose', None) or getattr(part.it, 'close', None)
        if close is None:
            continue
        try:
            async with asyncio.timeout(CLOSE_S):
                closing = close()
                if inspect.isawaitable(closing):
                    await closing
        except TimeoutError:
            log.warning('a source has not closed within %g s', CLOSE_S)
        except Exception:
            log.exception('a source could not be closed')


def close_blocking(*parts: object) -> None:
    """As ``close_async``, for a source that is iterated in a thread; not bounded."""
    for part in dict.fromkeys(map(_Same, parts)):
        close: Any = getattr(part.it, 'close', None)
        if close is None:
            continue
        try:
            closing = close()
            if inspect.iscoroutine(closing):
                # Of an async client that was never iterated: no loop awaits it here.
                closing.close()
        except Exception:
            log.exception('a source could not be closed')


class _Same:
    """Compares by identity: what is no hashable object can be in a set."""

    def __init__(self, it: object) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.it is other.it

    def __hash__(self) -> int:
        return id(self.it)
