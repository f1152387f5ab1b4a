"""A Redis of our own on a Unix socket, and a minimal client for it.

Not a client library: Redis is to be measured, not a parser in Python.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.native.build import Missing

START_S = 10.0

Reply = bytes | int | list['Reply'] | None


class RedisError(Exception):
    """Redis has answered with an error."""


class Client:
    """One connection. Replies come in the order of what was sent."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile('rb', buffering=1 << 16)

    def send(self, *words: bytes) -> None:
        """Send a command."""
        parts = [b'*%d\r\n' % len(words)]
        parts += [b'$%d\r\n%b\r\n' % (len(word), word) for word in words]
        self._socket.sendall(b''.join(parts))

    def receive(self) -> Reply:
        """Wait for the next reply, or the next published message."""
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b'$':
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b'*':
            count = int(rest)
            return None if count < 0 else [self.receive() for _ in range(count)]
        if kind == b':':
            return int(rest)
        if kind == b'+':
            return rest
        raise RedisError(rest.decode() or 'the connection is closed')

    def ask(self, *words: bytes) -> Reply:
        """Send a command and wait for its reply."""
        self.send(*words)
        return self.receive()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


@dataclass(frozen=True)
class Server:
    """A running Redis.

    Attributes:
        pid: its process.
        path: its Unix socket.
    """

    pid: int
    path: Path


@contextmanager
def redis() -> Iterator[Server]:
    """Run a Redis that writes nothing to disk.

    Raises:
        Missing: it is not installed.
    """
    program = shutil.which('redis-server')
    if program is None:
        raise Missing('redis: redis-server is not installed')
    with tempfile.TemporaryDirectory(prefix='shmstream-bench-') as folder:
        path = Path(folder) / 'socket'
        command = [program, '--port', '0', '--unixsocket', str(path), '--dir', folder]
        command += ['--save', '', '--appendonly', 'no', '--daemonize', 'no']
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_S
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RedisError('redis-server does not start')
                time.sleep(0.01)
            yield Server(process.pid, path)
        finally:
            process.kill()
            process.wait()
