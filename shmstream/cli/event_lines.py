"""The events of a stream, as they are shown: one per line, with its offset."""

from __future__ import annotations

from typing import Any

from shmstream.cli.outcome import USAGE, Failure
from shmstream.cli.words import safe
from shmstream.client.errors import EventTooLong
from shmstream.client.events import parsed
from shmstream.client.whole_events import WholeEvents
from shmstream.dialects.framing import Framing

_MOST = 64 << 20
"""Bytes of one event, at most: as in ``shmstream.client``."""


class EventLines:
    """Takes the bytes of a stream, and returns its events.

    Args:
        offset: the offset of the first byte.
    """

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._events: WholeEvents | None = None
        self._torn = False

    def feed(self, chunk: bytes, content_type: str) -> list[dict[str, Any]]:
        """Return the events that are whole by now.

        Raises:
            Failure: the stream has no events, or an event that is too long.
        """
        if self._events is None:
            self._events = WholeEvents(self._offset, _MOST)
            self._events.begin(content_type, ())
            if self._events.framing is Framing.OPAQUE:
                raise Failure(
                    f'a stream of {safe(content_type) or "no known type"} has no'
                    ' events; leave out --events and --json',
                    USAGE,
                )
        try:
            self._events.feed(chunk)
        except EventTooLong as ex:
            raise Failure(str(ex)) from None
        return self._ready(self._events)

    def _ready(self, events: WholeEvents) -> list[dict[str, Any]]:
        found = []
        while events.ready:
            block = events.take()
            if self._torn:
                # The ring has dropped its beginning.
                self._torn = False
                continue
            event = parsed(block, events.framing)
            if event is not None:
                found.append(
                    {
                        'offset': events.offset,
                        'event': event.event,
                        'id': event.id,
                        'data': event.data,
                    }
                )
        return found

    def skip_to(self, offset: int) -> None:
        """Go on at this offset, which is probably in the middle of an event."""
        self._offset = offset
        self._events = None
        self._torn = True

    def rest(self) -> list[dict[str, Any]]:
        """Return the last event if it lacks its end."""
        if self._events is None:
            return []
        self._events.put(self._events.held())
        return self._ready(self._events)
