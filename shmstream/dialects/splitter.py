r"""Passes on whole events, and holds back an unfinished one.

The chunks of a source end anywhere. A splitter passes on bytes only up to the end of an
event, so that no reader is left with half an event, whatever happens next. An event is
passed on with the chunk that completes it, so that no event is delayed.

An event ends with a blank line: a line end that follows a line end. A line end is
``\n``, ``\r\n`` or ``\r``. A ``\r`` counts as soon as it arrives. If the next chunk
begins with ``\n``, this ``\n`` is passed on with it, and no reader takes the ``\n`` for
another line end. A comment line between events is passed on at its line end, because it
needs no blank line. A JSON line ends with ``\n``.

If an unfinished event grows longer than 256 KiB, or than the splitter was told, it is
passed on unfinished::

    splitter        holds back the bytes after  passes on an event that is too long
    --------------  --------------------------  -------------------------------------
    EventSplitter   the last blank line         as it arrives, to the next blank line
    LineSplitter    the last line end           as it arrives, to the next line end
    NoSplitter      (holds back nothing)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from shmstream.dialects.framing import Framing

MAX_HELD = 256 * 1024
"""Bytes of an unfinished event that are held back, at most, unless a splitter is told
otherwise."""

_BLANK = re.compile(rb'\n[\n\r]|\r\r')
"""Two line ends."""


class Splitter(Protocol):
    """What all splitters do."""

    @property
    def held(self) -> bytes:
        """The bytes that are held back."""

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; return the bytes that may be passed on, possibly none."""


def splitter_for(framing: Framing, most: int = MAX_HELD) -> Splitter:
    """Return a splitter for a stream of this framing.

    Args:
        framing: the framing of the stream.
        most: bytes of an unfinished event that are held back, at most.
    """
    if framing is Framing.OPAQUE:
        return NoSplitter()
    return EventSplitter(most) if framing is Framing.EVENTS else LineSplitter(most)


def pieces(block: bytes, most: int, framing: Framing) -> Iterator[bytes]:
    """Cut a block of whole events between events, and yield the pieces.

    Args:
        block: the events.
        most: bytes of a piece, at most. A single event that has more is one piece.
        framing: the framing of the stream.
    """
    at, size = 0, len(block)
    while size - at > most:
        end = at + most
        if framing is Framing.EVENTS:
            end = _last_end(block, at, end) or _first_end(block, max(at, end - 1))
        elif framing is not Framing.OPAQUE:
            end = block.rfind(b'\n', at, end) + 1 or block.find(b'\n', end) + 1
        if not 0 < end < size:
            break
        yield block[at:end]
        at = end
    yield block[at:]


def event_end(block: bytes, start: int, framing: Framing) -> int:
    """Return where the event that begins at ``start`` ends; 0 if it has no end yet."""
    if framing is Framing.EVENTS:
        return _first_end(block, start)
    return 0 if framing is Framing.OPAQUE else block.find(b'\n', start) + 1


def first_end(block: bytes, start: int, framing: Framing) -> int:
    """Return where the first event at or after ``start`` ends in a block of events.

    The last event of a block may lack its end: then it ends with the block.
    """
    return event_end(block, start, framing) or len(block)


class NoSplitter:
    """Splits nothing: the framing of the stream is opaque."""

    held = b''

    def feed(self, chunk: bytes) -> bytes:
        """Return the whole chunk."""
        return chunk


class LineSplitter:
    """Splits JSON lines."""

    def __init__(self, most: int = MAX_HELD) -> None:
        self._most = most
        self._held = bytearray()
        self._gave_up = False

    @property
    def held(self) -> bytes:
        """The bytes that are held back."""
        return bytes(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; return the bytes that may be passed on, possibly none."""
        if chunk.endswith(b'\n') and not self._held:
            self._gave_up = False
            return chunk
        end = chunk.rfind(b'\n') + 1
        if end:
            self._gave_up = False
            whole = bytes(self._held + chunk[:end]) if self._held else chunk[:end]
            self._held[:] = chunk[end:]
            return whole
        if self._gave_up:
            return chunk
        self._held += chunk
        if len(self._held) <= self._most:
            return b''
        self._gave_up = True
        return _taken(self._held)


class EventSplitter:
    """Splits server-sent events."""

    def __init__(self, most: int = MAX_HELD) -> None:
        self._most = most
        self._held = bytearray()
        # The last byte passed on of an event that is too long to hold back.
        self._before = b''

    @property
    def held(self) -> bytes:
        """The bytes that are held back."""
        return bytes(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; return the bytes that may be passed on, possibly none."""
        held = self._held
        if chunk.endswith((b'\n\n', b'\r\n\r\n')):
            # Nearly all chunks end in this way. They need not be searched.
            self._before = b''
            return _taken(held) + chunk if held else chunk
        if self._before:
            return self._feed_too_long(chunk)
        searched = max(len(held) - 2, 0)
        held += chunk
        end = _last_end(held, searched, len(held)) or _leading_end(held)
        end = _after_comments(held, end, searched)
        if end:
            whole = bytes(held[:end])
            del held[:end]
            return whole
        if len(held) <= self._most:
            return b''
        self._before = bytes(held[-1:])
        return _taken(held)

    def _feed_too_long(self, chunk: bytes) -> bytes:
        if not chunk:
            return b''
        seen = self._before + chunk
        end = _last_end(seen, 0, len(seen)) - 1
        if end < 0:
            self._before = chunk[-1:]
            return chunk
        self._before = b''
        return chunk[:end] + self.feed(chunk[end:])


def _taken(held: bytearray) -> bytes:
    whole = bytes(held)
    held.clear()
    return whole


def _last_end(block: bytes | bytearray, start: int, stop: int) -> int:
    """Return where the last event within these bounds ends; 0 if none ends there."""
    found = max(block.rfind(pair, start, stop) for pair in (b'\n\n', b'\n\r', b'\r\r'))
    return 0 if found < 0 else _after_line_end(block, found + 1, stop)


def _first_end(block: bytes, start: int) -> int:
    """Return where the first event after ``start`` ends; 0 if none ends there."""
    line = block.find(b'\n', start)
    if line < 1 or block[line - 1] == 0x0D:
        # The lines end otherwise than most do.
        found = _BLANK.search(block, start)
        return (
            0 if found is None else _after_line_end(block, found.end() - 1, len(block))
        )
    first = block.find(b'\n\n', line)
    stop = len(block) if first < 0 else first + 1
    if block.find(b'\r', start, stop) >= 0:
        # Only what is before the end that is known is searched for the other ends.
        ends = [block.find(pair, start, stop) for pair in (b'\n\r', b'\r\r')]
        first = min((at for at in ends if at >= 0), default=first)
    return 0 if first < 0 else _after_line_end(block, first + 1, len(block))


def _leading_end(block: bytearray) -> int:
    """Return the end of a blank line at the beginning; 0 if there is none."""
    blank = block.startswith((b'\n', b'\r'))
    return _after_line_end(block, 0, len(block)) if blank else 0


def _after_comments(block: bytearray, end: int, searched: int) -> int:
    """Return the end of the whole comment lines that follow the end of an event."""
    while block[end : end + 1] == b':':
        ends = [block.find(c, max(end, searched)) for c in (b'\n', b'\r')]
        line_end = min((at for at in ends if at >= 0), default=-1)
        if line_end < 0:
            break
        end = _after_line_end(block, line_end, len(block))
    return end


def _after_line_end(block: bytes | bytearray, at: int, stop: int) -> int:
    """Return the index after the line end at ``at``, which may have two bytes."""
    return at + 2 if block[at : min(at + 2, stop)] == b'\r\n' else at + 1
