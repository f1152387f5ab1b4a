"""A terminal that is drawn on: the other screen, keys one by one, and its size."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_ENTER = '\x1b[?1049h\x1b[?25l'
_LEAVE = '\x1b[?25h\x1b[?1049l'
_ESCAPE_S = 0.05
"""Seconds in which the rest of a key's escape sequence arrives."""

_SEQUENCES = {
    '[A': 'up',
    'OA': 'up',
    '[B': 'down',
    'OB': 'down',
    '[5~': 'page up',
    '[6~': 'page down',
    '[H': 'home',
    'OH': 'home',
    '[1~': 'home',
    '[F': 'end',
    'OF': 'end',
    '[4~': 'end',
}
_LONGER = (0xC0, 0xE0, 0xF0)
"""The least first bytes of characters of two, three and four bytes in UTF-8."""

_NAMED = {'\r': 'enter', '\n': 'enter', '\x7f': 'erase', '\x08': 'erase'}


class Screen:
    """Draws lines on the terminal of stdin and stdout. Made by ``screen``."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._before: list[Any] = termios.tcgetattr(self._in)
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._drawn: list[str] = []

    def enter(self) -> None:
        """Take the terminal over."""
        tty.setcbreak(self._in)
        self._write(_ENTER)
        self._drawn = []

    def leave(self) -> None:
        """Give the terminal back as it was."""
        self._write(_LEAVE)
        termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)

    def close(self) -> None:
        """Close what ``Screen`` has opened."""
        os.close(self._woken)
        os.close(self._waker)

    def wake(self, *_: object) -> None:
        """Have ``key`` return; a signal handler may call it."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b'.')

    @property
    def size(self) -> tuple[int, int]:
        """The columns and lines of the terminal."""
        found = os.get_terminal_size(sys.stdout.fileno())
        # A terminal that does not know its size says 0.
        return found.columns or 80, found.lines or 24

    def draw(self, lines: list[str]) -> None:
        """Draw these lines from the top; only those that have changed."""
        parts = []
        if len(lines) != len(self._drawn):
            self._drawn = ['\0'] * len(lines)
            parts.append('\x1b[2J')
        for number, line in enumerate(lines):
            if line != self._drawn[number]:
                parts.append(f'\x1b[{number + 1};1H\x1b[0m\x1b[K{line}')
        self._drawn = list(lines)
        if parts:
            self._write(''.join(parts))

    def redraw(self) -> None:
        """Have the next ``draw`` draw all lines."""
        self._drawn = []

    def _write(self, text: str) -> None:
        encoding = sys.stdout.encoding or 'utf-8'
        sys.stdout.buffer.write(text.encode(encoding, 'replace'))
        sys.stdout.buffer.flush()

    def key(self, wait_s: float) -> str | None:
        """Return the next key; None if none came in time, or the screen has changed.

        Returns:
            A character, or a name such as ``up``; ``end of input`` if nobody can press
            a key any more.
        """
        readable, _, _ = select.select([self._in, self._woken], [], [], max(wait_s, 0))
        if self._woken in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 64)
        if self._in not in readable:
            return None
        raw = os.read(self._in, 1)
        if not raw:
            return 'end of input'
        if raw == b'\x1b':
            return self._sequence()
        for first in _LONGER:
            if raw[0] >= first and select.select([self._in], [], [], _ESCAPE_S)[0]:
                raw += os.read(self._in, 1)
        character = raw.decode('utf-8', 'replace')
        return _NAMED.get(character, character)

    def _sequence(self) -> str:
        """Return the name of the key whose escape sequence has begun."""
        text = ''
        while len(text) < 8 and select.select([self._in], [], [], _ESCAPE_S)[0]:
            text += os.read(self._in, 1).decode('latin-1')
            if text in _SEQUENCES or (len(text) > 1 and text[-1].isalpha()):
                break
            if len(text) > 1 and text[-1] == '~':
                break
        return _SEQUENCES.get(text, 'unknown' if text else 'escape')


@contextlib.contextmanager
def screen() -> Iterator[Screen]:
    """Take the terminal over for a block, and give it back however the block ends.

    SIGTERM and SIGHUP end the block, Ctrl-Z gives the terminal back for as long as the
    process is stopped.
    """
    made = Screen()

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    def stop(_number: int, _frame: FrameType | None) -> None:
        made.leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Here the process goes on again.
        signal.signal(signal.SIGTSTP, stop)
        made.enter()
        made.wake()

    handlers: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: end,
        signal.SIGHUP: end,
        signal.SIGTSTP: stop,
        signal.SIGWINCH: made.wake,
    }
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        made.enter()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield made
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
        made.leave()
        made.close()
