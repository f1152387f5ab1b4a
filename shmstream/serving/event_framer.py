"""From the bytes of a stream to the events that are sent.

The followers of a stream at one offset in one worker are given the very same bytes
(``wakeups.hub_watch``). So the first framer that frames them keeps what came of it, and
the others take that: an event is framed once, however many readers it has.
"""

from __future__ import annotations

import json
import re
import weakref
from dataclasses import dataclass, replace
from typing import Any

from shmstream.consumer import Consumer
from shmstream.dialects.framing import Framing, framing_of
from shmstream.dialects.splitter import event_end
from shmstream.internals import stream_key
from shmstream.ring.state import State
from shmstream.serving import own_events
from shmstream.serving.event_id import id_line

BEAT_S = 15.0
"""Seconds of silence after which a comment is sent."""

MAX_EVENT = 4 << 20
"""Bytes of an event, at most. An event is sent in one piece, so a larger one cannot be
sent at all, and counts as lost."""

_ID = re.compile(rb'(?:\A|(?<=[\r\n]))id(?::[^\r\n]*)?(?:\r\n|\n|\r)')
_NAME = re.compile(rb'(?:\A|(?<=[\r\n]))event(?:: ?([^\r\n]*))?(?:\r\n|\n|\r)')
_FIELD = re.compile(rb'(?:\A|[\r\n])(?:data|event)[:\r\n]')
_DATA = re.compile(rb'(?:\A|(?<=[\r\n]))data: ?([^\r\n]*)')
_LINE_END = re.compile(rb'(?:\r\n|\n|\r)\Z')
_MARK = b'\xef\xbb\xbf'
_FAILURE = b'error'
_LINE_OF_FAILURE = b'{"error"'


@dataclass(frozen=True, slots=True)
class _State:
    """Where a framer is.

    Attributes:
        at: the offset of the next byte that it is fed.
        held: an event that is not whole yet, in pieces: to join them with each new one
            would take as long as the square of the event's length.
        size: the bytes in ``held``.
        skips: the bytes up to the end of this event are left out.
        tells: the client is told of that.
        failure: an event that tells a failure, framed. It is held until it is known
            whether it is the stream's last.
    """

    at: int
    held: tuple[bytes, ...] = ()
    size: int = 0
    skips: bool = False
    tells: bool = False
    failure: bytes = b''


class _Shared:
    """What the last bytes of a stream have become in this process.

    Attributes:
        last: the bytes, the states of the framer before and after them, and what came
            of them. One tuple, because readers in threads replace it at any time.
    """

    def __init__(self) -> None:
        self.last: tuple[bytes, _State, _State, bytes] | None = None


_shared: weakref.WeakKeyDictionary[object, _Shared] = weakref.WeakKeyDictionary()


class EventFramer:
    """Frames a stream's bytes for one reader.

    Args:
        consumer: the stream.
        offset: of the first byte that it will be fed.
        within: that byte is within an event, whose rest is left out. Otherwise it is
            the first of an event.
    """

    beat_s = BEAT_S
    beat = own_events.PING

    def __init__(self, consumer: Consumer, offset: int, within: bool = False) -> None:
        self._consumer = consumer
        self._framing = framing_of(consumer.content_type)
        self._generation = consumer.generation
        self._state = _State(offset, skips=within)
        self._shared = _shared.setdefault(stream_key(consumer), _Shared())

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, one at least; return what is to be sent, or nothing."""
        before, last = self._state, self._shared.last
        # ``is``: to compare the bytes themselves would take nearly as long as to frame
        # them.
        if last is not None and last[0] is data and last[1] == before:
            self._state, framed = last[2:]
            return framed
        framed = self._framed(data)
        self._shared.last = (data, before, self._state, framed)
        return framed

    def end(self) -> bytes:
        """Return what is to be sent when the stream has ended."""
        state, consumer = self._state, self._consumer
        aborted = consumer.state is State.ABORTED
        parts = [] if aborted else [state.failure]
        if state.skips and state.tells:
            parts.append(own_events.lost(consumer))
        elif state.held and not state.skips and consumer.state is State.COMPLETE:
            # The source has ended its last event by ending.
            whole = b''.join(state.held)
            if state.at == state.size:
                whole = whole.removeprefix(_MARK)
            whole = whole.rstrip(b'\r\n') + b'\n\n'
            parts.append(self._event(whole, consumer.total_bytes))
        error = _error_in(state.failure) if state.failure and aborted else None
        return b''.join([*parts, own_events.end(consumer, error)])

    def _framed(self, data: bytes) -> bytes:
        state = self._state
        parts: list[bytes] = []
        at, begin = 0, state.at
        self._state = state = replace(state, at=begin + len(data))
        if state.held:
            # The blank line may have begun with the last byte that is held.
            last = state.held[-1][-1:]
            at = event_end(last + data, 0, self._framing) - 1
            if at < 0:
                self._hold(data)
                return b''
            event = b''.join(state.held) + data[:at]
            self._take(event, begin + at, parts)
        while end := event_end(data, at, self._framing):
            self._take(data[at:end], begin + end, parts)
            at = end
        if at < len(data):
            self._hold(data[at:])
        return b''.join(parts)

    def _hold(self, piece: bytes) -> None:
        state = self._state
        size = state.size + len(piece)
        if state.skips:
            # Only to see whether the next byte ends the event.
            self._state = replace(state, held=(piece[-1:],))
        elif size > MAX_EVENT:
            self._state = replace(
                state, held=(piece[-1:],), size=0, skips=True, tells=True
            )
        else:
            self._state = replace(state, held=(*state.held, piece), size=size)

    def _take(self, event: bytes, end: int, parts: list[bytes]) -> None:
        """Frame a whole event, which ends at this offset, for the parts to be sent."""
        state = self._state
        if state.skips:
            if state.tells:
                parts.append(own_events.lost(self._consumer))
            self._state = _State(state.at, failure=state.failure)
            return
        if end == len(event):
            event = event.removeprefix(_MARK)
        framed, failure = self._event(event, end), state.failure
        if framed:
            # Whatever is held was not the last, so it tells no failure of the stream.
            parts.append(failure)
            failure = b''
            if self._tells_failure(event):
                failure = framed
            else:
                parts.append(framed)
        if state.held or failure != state.failure:
            self._state = _State(state.at, failure=failure)

    def _event(self, event: bytes, end: int) -> bytes:
        """Frame one event, which ends at this offset of the stream."""
        if self._framing is not Framing.EVENTS:
            # Within JSON a CR is white space, and here it would end the line.
            line = event.strip(b' \t\r\n\x1e').replace(b'\r', b' ')
            return b'data: %s\n%s\n' % (line, self._id(end)) if line else b''
        if (
            event.startswith(b'data: ')
            and b'\r' not in event
            and b'\nid' not in event
            and b'\nevent' not in event
        ):
            # Nearly all events are like this.
            return b'%s%s\n' % (event[:-1], self._id(end))
        text = _ID.sub(b'', _LINE_END.sub(b'', event, count=1)).lstrip(b'\r\n')
        if _name_of(event) in own_events.NAMES:
            text = _NAME.sub(b'', text)
        if not text:
            return b''
        if _FIELD.search(text) is None:
            # Comments, or ``retry``: not an event. Without the blank line, which some
            # clients would take for one.
            return text
        return b'%s%s\n' % (text, self._id(end))

    def _tells_failure(self, event: bytes) -> bool:
        if self._framing is Framing.EVENTS:
            return _FAILURE in event and _name_of(event) == _FAILURE
        return event.lstrip().startswith(_LINE_OF_FAILURE)

    def _id(self, end: int) -> bytes:
        return id_line(self._generation, end)


def _name_of(event: bytes) -> bytes:
    """Return the name of an event; if it has several, the last one counts."""
    names: list[bytes] = _NAME.findall(event)
    return names[-1] if names else b''


def _error_in(event: bytes) -> Any:
    """Return what an event that tells a failure says: an object, if it is one."""
    data = b'\n'.join(_DATA.findall(event))
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {'message': data.decode('utf-8', 'replace')}
    if isinstance(found, dict):
        found = found.get('error', found)
    return found if isinstance(found, dict) else {'message': str(found)}
