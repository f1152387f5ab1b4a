"""An answer on its way in: its whole events, its dialect, and whether it is over."""

from __future__ import annotations

from collections.abc import Iterable

from shmstream.dialects.events import Event, events_in
from shmstream.dialects.framing import Framing
from shmstream.dialects.recognise import by_event, by_headers
from shmstream.dialects.splitter import splitter_for
from shmstream.dialects.table import UI, Dialect

_LOOKS = 8
"""How many events are looked at, at most, to recognise the dialect."""


class Incoming:
    """Takes the chunks of an answer. A chunk may end anywhere.

    Parsing every event would cost too much. Events are parsed only while the dialect is
    not known, or if they contain a mark of the dialect (``Dialect.marks``).

    Args:
        content_type: the content type of the answer.
        headers: the other headers of the answer.

    Attributes:
        dialect: the dialect of the answer, as far as it is known.
        over: whether the answer has said that it is over.
    """

    def __init__(
        self, content_type: str, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.dialect: Dialect = by_headers(content_type, headers)
        self.over = False
        self._splitter = splitter_for(self.framing)
        sure = self.dialect is UI or self.framing is Framing.OPAQUE
        self._looks_left = 0 if sure else _LOOKS
        self._first = True

    @property
    def framing(self) -> Framing:
        """How the events of the answer end."""
        return self.dialect.framing

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; return the whole events that may be passed on now."""
        events = self._splitter.feed(chunk)
        if events:
            if self._looks_left:
                self._recognise(events)
            dialect = self.dialect
            if dialect.may_go_on:
                self.over = False
            for mark in dialect.marks:
                if mark in events:
                    self._look_for_end(events)
                    break
        return events

    def rest(self, *, clean: bool) -> bytes:
        """Return what is held back at the end of the body and belongs to the stream.

        Args:
            clean: whether the body is complete. If the body broke off, an unfinished
                event is dropped, unless the event says that the answer is over. Such an
                event lacks only a line end.
        """
        held = self._splitter.held
        if held and (self._ends(held) or clean):
            self.over = self.over or self._ends(held)
            return held
        return b''

    def _look_for_end(self, events: bytes) -> None:
        self.over = self.over or self._ends(events)

    def _ends(self, events: bytes) -> bool:
        found = events_in(events, self.framing)
        if self.dialect.may_go_on:
            found = found[-1:]
        return any(map(self.dialect.ends, found))

    def _recognise(self, events: bytes) -> None:
        for event in events_in(events, self.framing)[: self._looks_left]:
            found = self._look(event)
            if found is not None:
                self.dialect = found
                self._looks_left = 0
                break

    def _look(self, event: Event) -> Dialect | None:
        self._looks_left -= 1
        first, self._first = self._first, False
        return by_event(event, self.framing, first=first)
