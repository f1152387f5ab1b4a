"""A real gunicorn with the repository's own configuration, on a port of its own."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from gunicorn.config import Config

from tests.support.certificate import Certificate
from tests.support.client import Client
from tests.support.leaks import LeakGuard, processes, wait_until

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
"""As long as a process may take to come up on a machine that is busy."""

ACCIDENTS = ('Traceback', 'WORKER TIMEOUT', 'wake-up failed', 'internal error')
"""What no service may print, whatever is done to it."""


HAS_CONTROL_SOCKET = 'control_socket_disable' in Config().settings
"""Versions of gunicorn before 26 have none."""


def fresh_directory() -> Path:
    """A runtime directory that nobody else uses; not made yet."""
    return Path(f'/dev/shm/shmstream-test-{os.getpid()}-{secrets.token_hex(6)}')


class Service:
    """Starts on entering, stops on leaving, and checks that nothing is left.

    Args:
        log: file for what it prints.
        workers: gunicorn workers.
        settings: SHMSTREAM_* variables, without the prefix.
        arguments: further gunicorn arguments.
        config: configuration file.
        directory: runtime directory.
        ready: what each worker prints when it is up.
        bind: address; port 0 for one that is free.
        expected: accidents that a test means to have.
        prefix: a command that runs it as its last arguments say, and becomes it.
        cwd: working directory.
        environment: further variables.
        control_socket: whether gunicorn is to have its control socket.
        certificate: it speaks TLS, and HTTP/2.
    """

    def __init__(
        self,
        log: Path,
        *,
        workers: int = 3,
        settings: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        config: Path = ROOT / 'gunicorn.conf.py',
        directory: Path | None = None,
        ready: str = 'ASGI server listening',
        bind: str = '127.0.0.1:0',
        expected: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
        cwd: Path = ROOT,
        environment: dict[str, str] | None = None,
        control_socket: bool = False,
        certificate: Certificate | None = None,
    ) -> None:
        self.log = log
        self.workers = workers
        self.directory = fresh_directory() if directory is None else directory
        self.guard = LeakGuard(self.directory)
        self._settings = settings or {}
        self._arguments = arguments
        self._config = config
        self._ready = ready
        self._bind = bind
        self._prefix = prefix
        self._cwd = cwd
        self._environment = environment or {}
        self._control_socket = control_socket
        self._certificate = certificate
        self._accidents = set(ACCIDENTS) - set(expected)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start gunicorn without waiting for it."""
        env = {k: v for k, v in os.environ.items() if not k.startswith('SHMSTREAM_')}
        env.pop('GUNICORN_CMD_ARGS', None)
        env['SHMSTREAM_DIR'] = str(self.directory)
        env |= {f'SHMSTREAM_{k}': v for k, v in self._settings.items()}
        env |= self._environment
        # The script, not -m: USR2 runs again what was run.
        gunicorn = str(Path(sys.executable).parent / 'gunicorn')
        command = [*self._prefix, sys.executable, gunicorn, '-c', str(self._config)]
        command += ['--bind', self._bind, '--workers', str(self.workers)]
        if not self._control_socket and HAS_CONTROL_SOCKET:
            command += ['--no-control-socket']
        if self._certificate is not None:
            command += ['--certfile', str(self._certificate.file)]
            command += ['--keyfile', str(self._certificate.key)]
            command += ['--http-protocols', 'h2,h1']
        command += self._arguments
        with self.log.open('wb') as log:
            self._process = subprocess.Popen(
                command, env=env, cwd=self._cwd, stdout=log, stderr=subprocess.STDOUT
            )
        return self._process

    def text(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(errors='replace')

    @property
    def master(self) -> int:
        """The master's pid."""
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """The workers' pids, as the kernel knows them."""
        children = Path(f'/proc/{self.master}/task/{self.master}/children')
        found = []
        for pid in map(int, children.read_text().split()):
            # One that ends meanwhile is none.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if b'gunicorn' in Path(f'/proc/{pid}/cmdline').read_bytes():
                    found.append(pid)
        return found

    def supervisors(self) -> list[int]:
        """The supervisors' pids: one, but for moments."""
        found = []
        for pid in processes(str(self.directory)):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                command = Path(f'/proc/{pid}/cmdline').read_bytes()
                if b'shmstream.supervisor' in command:
                    found.append(pid)
        return found

    def client(self) -> Client:
        """A client of it."""
        trusted = self._certificate
        return Client(self.port, None if trusted is None else trusted.trusting)

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal."""
        os.kill(self.master, number)

    def wait(self, wait_s: float = 40.0) -> int:
        """Wait for the master to end; returns its exit code."""
        assert self._process is not None
        return self._process.wait(wait_s)

    def __enter__(self) -> Self:
        process = self.spawn()

        def up() -> bool:
            if process.poll() is not None:
                raise AssertionError(f'gunicorn ended:\n{self.text()}')
            return self.text().count(self._ready) >= self.workers

        if not wait_until(up, START_S):
            raise AssertionError(f'gunicorn did not come up:\n{self.text()}')
        found = re.search(r'Listening at: https?://[\d.]+:(\d+)', self.text())
        assert found is not None
        self.port = int(found[1])
        self.guard.note()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f'it did not stop:\n{self.text()}') from None
        if kind is None:
            self.guard.check()
            for word in self._accidents:
                assert word not in self.text(), self.text()
        else:
            print(self.text())
