"""The service under ASGI servers other than gunicorn: real ones, as processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.client import Client
from tests.support.leaks import LeakGuard, wait_until
from tests.support.service import ROOT, START_S, fresh_directory

STOP_S = 40.0
WORKERS = 2

FACTORY = 'shmstream.http.app:create_app'

COMMANDS: dict[str, tuple[str, ...]] = {
    'uvicorn': ('uvicorn', '--factory', FACTORY, '--port', '{port}', '--workers', '2'),
    'hypercorn': ('hypercorn', f'{FACTORY}()', '-b', '127.0.0.1:{port}', '-w', '2'),
    'granian': (
        *('granian', '--interface', 'asgi', '--factory', FACTORY),
        *('--port', '{port}', '--workers', '2'),
    ),
}
"""By name: how each is started, with two workers."""


def free_port() -> int:
    """A port that nobody listens at, for servers that cannot be handed a socket."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port: int = sock.getsockname()[1]
        return port


class AsgiServer:
    """Starts on entering, stops on leaving, and checks that nothing is left.

    Args:
        name: which server.
        log: file for what it prints.
        settings: SHMSTREAM_* variables, without the prefix.
        arguments: more of its own.
        command: how it is started; by default with the service.
        workers: as many as the command asks for.
        environment: further variables.
    """

    def __init__(
        self,
        name: str,
        log: Path,
        settings: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        command: tuple[str, ...] | None = None,
        workers: int = WORKERS,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.directory = fresh_directory()
        self.guard = LeakGuard(self.directory)
        self.port = free_port()
        self._settings = settings or {}
        self._arguments = arguments
        self._command = COMMANDS[name] if command is None else command
        self._workers = workers
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def text(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(errors='replace')

    def client(self) -> Client:
        """A client of it."""
        return Client(self.port)

    def terminate(self) -> None:
        """Tell it to stop."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        assert self._process is not None
        return self._process.wait(STOP_S)

    def healthy_workers(self) -> set[str]:
        """A worker that answers, by its word of itself; empty if none does."""
        with contextlib.suppress(OSError):
            reply = self.client().get('/healthz')
            if reply.status == 200:
                return {str(reply.json()['worker'])}
        return set()

    def __enter__(self) -> Self:
        env = {k: v for k, v in os.environ.items() if not k.startswith('SHMSTREAM_')}
        env |= {f'SHMSTREAM_{k}': v for k, v in self._settings.items()}
        env |= {'SHMSTREAM_DIR': str(self.directory), 'PYTHONUNBUFFERED': '1'}
        env |= self._environment
        parts = (*self._command, *self._arguments)
        command = [part.format(port=self.port) for part in parts]
        script = str(Path(sys.executable).parent / command[0])
        with self.log.open('wb') as log:
            self._process = subprocess.Popen(
                [sys.executable, script, *command[1:]],
                env=env,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                # To be killed whole, if need be.
                start_new_session=True,
            )

        # Not all of them stop if they are told to before they listen to it.
        healthy: set[str] = set()

        def up() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f'it ended:\n{self.text()}')
            healthy.update(self.healthy_workers())
            return len(healthy) == self._workers

        try:
            if not wait_until(up, START_S):
                raise AssertionError(f'it did not come up:\n{self.text()}')
            self.guard.note()
        except BaseException:
            self._kill()
            raise
        return self

    def _kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._kill()
                raise AssertionError(f'it did not stop:\n{self.text()}') from None
        if kind is not None:
            print(self.text())
            return
        try:
            self.guard.check()
        except AssertionError:
            print(self.text())
            raise
