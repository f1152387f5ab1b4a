"""shmstream itself: this repository's gunicorn.conf.py, and a writer process."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from bench.measure import free_port, wait_port
from bench.peers.base import WORKERS, Peer, Session
from bench.report import ROOT


class Ours(Peer):
    """Two workers, a supervisor, a runtime directory of its own."""

    name = 'ours'
    workers = WORKERS
    app = 'shmstream.http.app:create_app()'
    path = '/v1/stream'

    @property
    def directory(self) -> Path:
        """The runtime directory."""
        return self.scratch / 'run'

    def start(self) -> None:
        self.port = free_port()
        command = [sys.executable, str(Path(sys.executable).parent / 'gunicorn')]
        command += ['-c', str(ROOT / 'gunicorn.conf.py'), '--no-control-socket']
        command += ['--bind', f'127.0.0.1:{self.port}']
        command += ['--workers', str(self.workers), self.app]
        env = {
            'SHMSTREAM_DIR': str(self.directory),
            'SHMSTREAM_MAX_SESSIONS': '20000',
            'SHMSTREAM_SESSION_TTL': '86400',
            'GUNICORN_CMD_ARGS': '',
        }
        wait_port(self.port, self.launch(command, env))

    def pids(self) -> list[int]:
        # The supervisor is no child of gunicorn's; the directory is its argument.
        return list(dict.fromkeys([*super().pids(), *self._supervisors()]))

    def _supervisors(self) -> list[int]:
        found = []
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit():
                try:
                    arguments = (entry / 'cmdline').read_bytes()
                except OSError:
                    continue
                if b'shmstream.supervisor' in arguments and (
                    str(self.directory).encode() in arguments
                ):
                    found.append(int(entry.name))
        return found

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        path = f'{self.path}/{prefix}-%s?from=%o'
        return self.written_by('ours', str(self.directory), prefix, count, path, '')


class OursByEvents(Ours):
    """The same by the route for an ``EventSource``, whose events have ids."""

    name = 'events'
    path = '/v1/events'
    rejoins = False

    @property
    def directory(self) -> Path:
        return self.scratch / 'run-events'


class OursInFastapi(Ours):
    """The same reader as a response of a FastAPI application."""

    name = 'fastapi'
    app = 'bench.peers.fastapi_app:app'
    path = '/chat'

    @property
    def directory(self) -> Path:
        return self.scratch / 'run-fastapi'

    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        found = importlib.util.find_spec('fastapi')
        return None if found else 'FastAPI is not installed'
