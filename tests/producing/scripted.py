"""Sources that a test steers through files, in whatever process they run.

A source writes ``before`` events, then waits until the file ``<name>.go`` is there, and
writes ``after`` more. When it is closed, it writes the file ``<name>.closed``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

_LOOK_S = 0.01


class Gate:
    """The files of one source."""

    def __init__(self, folder: Path, name: str) -> None:
        self._go = folder / f'{name}.go'
        self._closed = folder / f'{name}.closed'

    def open(self) -> None:
        """Let the source go on."""
        self._go.touch()

    def is_open(self) -> bool:
        return self._go.exists()

    def note_closed(self, how: str) -> None:
        """Note that the source is closed; for the source."""
        self._closed.write_text(how)

    def closed(self) -> str:
        """How the source was closed; empty until then."""
        return self._closed.read_text() if self._closed.exists() else ''


def text(number: int) -> str:
    return f'event {number}'


def whole(events: int) -> bytes:
    """The stream of a source that has come to its end."""
    return b''.join(b'data: %s\n\n' % text(n).encode() for n in range(events))


class Script:
    """What a source does; goes through JSON to another process."""

    def __init__(
        self, gate: Gate, before: int, after: int, fails: bool = False
    ) -> None:
        self._gate = gate
        self._before = before
        self._after = after
        self._fails = fails

    def _rest(self) -> Iterator[str]:
        if self._fails:
            raise ValueError('a secret of the application')
        yield from map(text, range(self._before, self._before + self._after))

    async def on_loop(self) -> AsyncIterator[str]:
        """The source for an event loop."""
        how = 'ended'
        try:
            for number in range(self._before):
                yield text(number)
            while not self._gate.is_open():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(_LOOK_S)
            for each in self._rest():
                yield each
        except BaseException as ex:
            how = type(ex).__name__
            raise
        finally:
            self._gate.note_closed(how)

    def in_thread(self, cancelled: threading.Event) -> Iterator[str]:
        """The source for a thread."""
        how = 'ended'
        try:
            for number in range(self._before):
                yield text(number)
            while not self._gate.is_open():
                if cancelled.is_set():
                    how = 'saw it'
                    return
                time.sleep(_LOOK_S)
            yield from self._rest()
        except BaseException as ex:
            how = type(ex).__name__
            raise
        finally:
            self._gate.note_closed(how)


def script(folder: Path, asked: dict[str, Any]) -> Script:
    """The script that a request asks for."""
    gate = Gate(folder, asked['name'])
    return Script(gate, asked['before'], asked['after'], asked.get('fails', False))
