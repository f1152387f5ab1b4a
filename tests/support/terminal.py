"""A program in a real terminal: a pty, and a screen that understands what it writes."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path
from typing import Self

import pyte

from tests.support.leaks import wait_until

ROOT = Path(__file__).resolve().parents[2]
KEYS = {'up': '\x1b[A', 'down': '\x1b[B', 'end': '\x1b[F', 'escape': '\x1b'}


class Terminal:
    """Starts on entering; killed on leaving if it has not ended.

    Args:
        command: the program, with its path, and its arguments.
        env: more environment variables; None removes one.
        columns: of the screen.
        lines: of the screen.
    """

    def __init__(
        self,
        command: list[str],
        env: dict[str, str | None] | None = None,
        columns: int = 100,
        lines: int = 24,
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.raw = bytearray()
        """Everything that the program has written."""
        self._ours, theirs = os.openpty()
        self._set_size(columns, lines)
        self._modes = termios.tcgetattr(theirs)
        self._theirs = theirs
        merged = dict(os.environ) | {'TERM': 'xterm-256color'} | (env or {})
        merged.pop('NO_COLOR', None) if 'NO_COLOR' not in (env or {}) else None
        self._over = threading.Event()
        # The terminal has to be the program's own, so that resizing it and Ctrl-C send
        # signals; and a fork by this process, which has threads, is none.
        self.process = subprocess.Popen(
            ['setsid', '--ctty', '--wait', *command],
            env={name: text for name, text in merged.items() if text is not None},
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        while not self._over.is_set():
            if not select.select([self._ours], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The same in one piece."""
        return '\n'.join(self.lines)

    def style_of(self, text: str) -> tuple[str, bool]:
        """The colour, and whether it is reversed, of the first place of a text."""
        with self._lock:
            for number, line in enumerate(self._screen.display):
                if text in line:
                    found = self._screen.buffer[number][line.index(text)]
                    return found.fg, found.reverse
        raise AssertionError(f'{text!r} is not on the screen:\n{self.text}')

    def until(self, *texts: str, wait_s: float = 30.0) -> str:
        """Wait until all these texts are on the screen; returns the screen."""
        there = wait_until(lambda: all(one in self.text for one in texts), wait_s)
        assert there, f'{texts} did not come:\n{self.text}'
        return self.text

    def without(self, text: str, wait_s: float = 30.0) -> str:
        """Wait until a text is no longer on the screen; returns the screen."""
        gone = wait_until(lambda: text not in self.text, wait_s)
        assert gone, f'{text!r} stayed:\n{self.text}'
        return self.text

    def press(self, *keys: str) -> None:
        """Press keys: names of ``KEYS``, or characters."""
        for key in keys:
            os.write(self._ours, KEYS.get(key, key).encode())

    def _set_size(self, columns: int, lines: int) -> None:
        packed = struct.pack('4H', lines, columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, packed)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the screen; the program gets SIGWINCH."""
        with self._lock:
            self._screen.resize(lines, columns)
        self._set_size(columns, lines)

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        self.process.send_signal(number)

    def wait(self, wait_s: float = 30.0) -> int:
        """Wait for the program's end; returns its exit code."""
        return self.process.wait(wait_s)

    @property
    def restored(self) -> bool:
        """Whether the terminal's modes are what they were."""
        return termios.tcgetattr(self._theirs) == self._modes

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._over.set()
        self._reader.join()
        os.close(self._ours)
        os.close(self._theirs)
