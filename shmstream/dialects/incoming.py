"""An answer on its way in: its whole events, its dialect, and whether it is over."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shmstream.dialects.events import Event, events_in
from shmstream.dialects.framing import Framing
from shmstream.dialects.recognise import by_event, by_headers
from shmstream.dialects.splitter import MAX_HELD, splitter_for
from shmstream.dialects.table import RESPONSES, UI, Dialect

_LOOKS = 8
"""How many events are looked at, at most, to recognise the dialect."""

_RESPONSE = b'"response"'
"""Within a string of JSON the quotes would have backslashes before them."""

_BEGUN = re.compile(
    rb'\s*\{\s*"type"\s*:\s*"response\.(?:created|queued|in_progress)"\s*,\s*'
    rb'(?:"sequence_number"\s*:\s*\d+\s*,\s*)?'
    rb'"response"\s*:\s*\{\s*"id"\s*:\s*"([^"\\]+)"'
)
"""How OpenAI's first events begin. They repeat the instructions and the tools, so they
may be too long to be held back until they are whole."""


class Incoming:
    """Takes the chunks of an answer. A chunk may end anywhere.

    Parsing every event would cost too much. Events are parsed only while the dialect is
    not known, or if they contain a mark of the dialect (``Dialect.marks``).

    Args:
        content_type: the content type of the answer.
        headers: the other headers of the answer.
        most_held: bytes of an unfinished event that are held back, at most.

    Attributes:
        dialect: the dialect of the answer, as far as it is known.
        response_id: the id of an OpenAI response, as the first of its events tells it
            that can be read; None if the answer is none, or has not told it.
        over: whether the answer has said that it is over, and nothing may follow. Its
            connection need not be waited for.
        complete: whether the answer is complete if its connection ends now, in whatever
            way: it is over, or its last word is an end that more may follow.
    """

    def __init__(
        self,
        content_type: str,
        headers: Iterable[tuple[str, str]] = (),
        *,
        most_held: int = MAX_HELD,
    ) -> None:
        self.dialect: Dialect = by_headers(content_type, headers)
        self.response_id: object = None
        self.over = False
        self.complete = False
        self._splitter = splitter_for(self.framing, most_held)
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
            if dialect is RESPONSES and self.response_id is None:
                self._look_for_id(events)
            if dialect.only_last:
                self.complete = False
            if dialect.may_end(events):
                self._look_for_end(events)
        return events

    def rest(self, *, clean: bool) -> bytes:
        """Return what is held back at the end of the body and belongs to the stream.

        Args:
            clean: whether the body is complete. If the body broke off, an unfinished
                event is dropped, unless the event says that the answer is over. Such an
                event lacks only a line end.
        """
        held = self._splitter.held
        if held and (self._look_for_end(held) or clean):
            return held
        return b''

    @property
    def may_end_here(self) -> bool:
        """Whether the answer may be complete if nothing but its connection has ended.

        Such an answer has neither a length nor chunks, so nobody says that its body is
        whole. It is not if the end of its dialect is missing, or if an unfinished event
        is held back. An event that lacks only its line end is not unfinished: no part
        of a JSON object is a JSON object.
        """
        if self.complete:
            return True
        held = events_in(self._splitter.held, self.framing)
        return not self.dialect.always_said and all(event.fields for event in held)

    def _look_for_end(self, events: bytes) -> bool:
        """Return whether one of these events is an end."""
        found = events_in(events, self.framing)
        ends = self.dialect.is_over(found)
        self.complete = self.complete or ends
        self.over = self.over or self.dialect.is_closed(found)
        return ends

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
        if self.framing is Framing.EVENTS and _BEGUN.match(event.data):
            return RESPONSES
        return by_event(event, self.framing, first=first)

    def _look_for_id(self, events: bytes) -> None:
        if _RESPONSE not in events:
            return
        for event in events_in(events, self.framing):
            if (begun := _BEGUN.match(event.data)) is not None:
                self.response_id = begun[1].decode('utf-8', 'replace')
            elif isinstance(response := event.fields.get('response'), dict):
                self.response_id = response.get('id')
            if self.response_id is not None:
                break
