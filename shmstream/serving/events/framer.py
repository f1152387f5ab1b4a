"""From the bytes of a stream to the events that are sent.

The followers of a stream at one offset in one worker are given the very same bytes
(``wakeups.hub_watch``). So the first framer that frames them keeps what came of it, and
the others take that: an event is framed once, however many readers it has.
"""

from __future__ import annotations

import json
import re
import weakref
from dataclasses import dataclass
from typing import Any

from shmstream.consumer import Consumer
from shmstream.dialects.framing import Framing, framing_of
from shmstream.dialects.splitter import event_end
from shmstream.internals import stream_key
from shmstream.ring.state import State
from shmstream.serving.events import told
from shmstream.serving.events.event_id import id_line

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


@dataclass(frozen=True, slots=True)
class _State:
    """Where a framer is.

    Attributes:
        at: the offset of the next byte that it is fed.
        held: the beginning of an event that is not whole yet.
        failure: an event named ``error``, framed without that name. It is held until
            it is known whether it is the stream's last.
        skips: the beginning of the event was too long to hold.
    """

    at: int
    held: bytes = b''
    failure: bytes = b''
    skips: bool = False


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
        offset: of the first byte that it will be fed: the end of an event, or 0.
    """

    beat_s = BEAT_S

    def __init__(self, consumer: Consumer, offset: int) -> None:
        self._consumer = consumer
        self._framing = framing_of(consumer.content_type)
        self._generation = consumer.generation
        self._state = _State(offset)
        self._shared = _shared.setdefault(stream_key(consumer), _Shared())

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what is to be sent, possibly nothing.

        Args:
            data: the bytes. None are a silence of ``BEAT_S`` seconds.
        """
        if not data:
            return told.PING
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
        parts = []
        error = None
        if state.failure and consumer.state is State.ABORTED:
            error = _error_in(state.failure)
        else:
            parts.append(state.failure)
        if state.held and not state.skips and consumer.state is State.COMPLETE:
            # The source has ended its last event by ending.
            parts.append(self._event(state.held + b'\n\n', consumer.total_bytes))
        return b''.join([*parts, told.end(consumer, error)])

    def _framed(self, data: bytes) -> bytes:
        state = self._state
        block = state.held + data if state.held else data
        begin = state.at - len(state.held)
        failure, skips = state.failure, state.skips
        parts: list[bytes] = []
        at = 0
        while end := event_end(block, at, self._framing):
            event = block[at:end]
            at = end
            if skips:
                skips = False
                parts.append(told.lost(self._consumer))
                continue
            framed = self._event(event, begin + end)
            if failure and framed:
                # It was not the last one, so it tells no failure of the stream.
                parts.append(failure)
                failure = b''
            if self._is_failure(event):
                failure = framed
            else:
                parts.append(framed)
        held = block[at:]
        if len(held) > MAX_EVENT:
            # Enough is held to see the blank line that ends the event.
            held, skips = held[-2:], True
        self._state = _State(state.at + len(data), held, failure, skips)
        return b''.join(parts)

    def _event(self, event: bytes, end: int) -> bytes:
        """Frame one event, which ends at this offset of the stream."""
        if self._framing is not Framing.EVENTS:
            line = event.strip(b' \t\r\n\x1e')
            return b'data: %s\n%s\n' % (line, self._id(end)) if line else b''
        if end == len(event):
            event = event.removeprefix(_MARK)
        if (
            event.startswith(b'data: ')
            and b'\r' not in event
            and b'\nid' not in event
            and b'\nevent' not in event
        ):
            # Nearly all events are like this.
            return b'%s%s\n' % (event[:-1], self._id(end))
        text = _ID.sub(b'', _LINE_END.sub(b'', event, count=1)).lstrip(b'\r\n')
        if self._is_failure(event):
            text = _NAME.sub(b'', text)
        if not text:
            return b''
        if _FIELD.search(text) is None:
            # Comments, or ``retry``: not an event. Without the blank line, which some
            # clients would take for one.
            return text
        return b'%s%s\n' % (text, self._id(end))

    def _is_failure(self, event: bytes) -> bool:
        if self._framing is not Framing.EVENTS or b'error' not in event:
            return False
        # If there are several names, the last one counts.
        return _NAME.findall(event)[-1:] == [b'error']

    def _id(self, end: int) -> bytes:
        return id_line(self._generation, end)


def _error_in(event: bytes) -> Any:
    """Return what an event that tells a failure says: an object, if it is one."""
    data = b'\n'.join(_DATA.findall(event))
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {'message': data.decode('utf-8', 'replace')}
    if isinstance(found, dict):
        inner = found.get('error', found)
        return inner if isinstance(inner, dict) else {'message': str(inner)}
    return {'message': str(found)}
