"""Another process for a test: a function of a helper module in a new interpreter.

Not a fork: pytest and its plugins have threads. Both sides talk in lines of JSON, the
child through ``say`` and ``hear``, the test through the methods of the same names.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.support.patience import LOOK_S, Patience

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0


def say(message: Any) -> None:
    """Tell the test something, from within the child."""
    os.write(1, json.dumps(message).encode() + b'\n')


def hear() -> Any:
    """Wait for what the test says; the child ends if the test has gone."""
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


class Program:
    """A process that talks in lines of JSON; killed at the end of the block if need be.

    Args:
        command: the program and its arguments.
        env: more environment variables.
    """

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | (env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._buffer = bytearray()
        self.killed = False

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def say(self, message: Any) -> None:
        """Tell the child something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b'\n')
        self._process.stdin.flush()

    def hear(self, wait_s: float = WAIT_S) -> Any:
        """Return the next thing that the child says."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        deadline = time.monotonic() + wait_s
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while b'\n' not in self._buffer:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError(f'the child said nothing for {wait_s} s')
                data = os.read(fd, 1 << 16)
                if not data:
                    raise EOFError(f'the child ended: {self._process.wait(WAIT_S)}')
                self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b'\n')
        self._buffer[:] = rest
        return json.loads(line)

    def hear_patiently(self, wait_s: float) -> Any:
        """As ``hear``, but ``wait_s`` are seconds as ``Patience`` counts them."""
        patience = Patience()
        while True:
            try:
                return self.hear(LOOK_S)
            except TimeoutError:
                if patience.look() >= wait_s:
                    raise TimeoutError(f'nothing said for {wait_s} s') from None

    def kill(self) -> None:
        """SIGKILL; returns once it is dead."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, wait_s: float = WAIT_S) -> int:
        """Wait for its end; returns its exit code."""
        return self._process.wait(wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            code = 0 if self.killed else self._process.wait(WAIT_S if not kind else 1)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
            code = -signal.SIGKILL
        finally:
            self._process.stdout.close()
        assert kind is not None or code == 0, f'the child ended with {code}'


class Child(Program):
    """Runs ``function(*arguments)`` in a new interpreter.

    Args:
        function: a function of a module, which is imported by its name.
        arguments: what JSON can carry, and paths.
        prefix: a command to run the interpreter under.
        env: more environment variables.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *arguments: Any,
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        name = f'{function.__module__}:{function.__name__}'
        command = [*prefix, sys.executable, '-m', 'tests.support.child', name]
        super().__init__([*command, json.dumps(arguments, default=str)], env)


def _main() -> None:
    module, _, name = sys.argv[1].partition(':')
    getattr(importlib.import_module(module), name)(*json.loads(sys.argv[2]))


if __name__ == '__main__':
    _main()
