"""gunicorn's own settings, as gunicorn itself reads them.

A deployment that runs is asked over gunicorn's control socket. For one that does not
run yet, a child process reads the configuration file: the file is a program, which may
change the process, exit it, or never end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from shmstream.errors import ShmstreamError
from shmstream.memory.directory import RuntimeDirectory

ASK_S = 3.0
"""Seconds that a gunicorn that runs may take to tell its settings."""

READ_S = 20.0
"""Seconds that reading a configuration file may take: usually half a second, most of it
for what the file imports."""

_CHILD = """
import json, sys
from gunicorn.app.wsgiapp import WSGIApplication
names, sys.argv[1:] = sys.argv[1].split(','), sys.argv[2:]
cfg = WSGIApplication().cfg
found = {name: getattr(cfg, name) for name in names}
found['worker_class'] = cfg.worker_class_str
print('\\0' + json.dumps(found, default=str))
"""
"""What the child runs. The zero byte tells its last line from what a file prints."""


class ServerUnknown(ShmstreamError):
    """gunicorn's settings cannot be told; the message says why."""


@dataclass(frozen=True)
class ServerSettings:
    """The settings of gunicorn that matter to streams.

    Attributes:
        bind: the addresses: ``HOST:PORT`` or ``unix:/PATH``.
        workers: the number of workers.
        worker_class: its name, such as ``asgi``.
        timeout: seconds after which a worker without a heart-beat is killed; 0: never.
        graceful_timeout: seconds that a worker has to end.
        wsgi_app: the application, None if it is not known.
    """

    bind: tuple[str, ...] = ('127.0.0.1:8000',)
    workers: int = 1
    worker_class: str = 'asgi'
    timeout: float = 30
    graceful_timeout: float = 10
    wsgi_app: str | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> ServerSettings:
        """Take what gunicorn has told; raises ``ServerUnknown`` if a part is missing.

        Example::

            config = gunicorn.config.Config()
            ServerSettings.of({name: getattr(config, name) for name in NAMES})
        """
        try:
            bind = found['bind']
            return cls(
                bind=(bind,) if isinstance(bind, str) else tuple(map(str, bind)),
                workers=int(found['workers']),
                worker_class=_short(str(found['worker_class'])),
                timeout=float(found['timeout']),
                graceful_timeout=float(found['graceful_timeout']),
                wsgi_app=found.get('wsgi_app'),
            )
        except (KeyError, TypeError, ValueError) as ex:
            raise ServerUnknown(f'gunicorn has not told its settings: {ex!r}') from ex


NAMES = tuple(field.name for field in fields(ServerSettings))


def _short(worker_class: str) -> str:
    """Return gunicorn's own short name of a class of workers."""
    # A running gunicorn tells the class as Python shows it.
    path = worker_class.removeprefix("<class '").removesuffix("'>")
    short = {
        'gunicorn.workers.gasgi.ASGIWorker': 'asgi',
        'gunicorn.workers.gthread.ThreadWorker': 'gthread',
        'gunicorn.workers.ggevent.GeventWorker': 'gevent',
        'gunicorn.workers.sync.SyncWorker': 'sync',
    }
    return short.get(path, path)


def ask_running(directory: RuntimeDirectory) -> ServerSettings:
    """Ask the gunicorn that runs in this directory; blocks for ``ASK_S`` at the most.

    Raises:
        ServerUnknown: its control socket is not in the directory, or does not answer.
    """
    try:
        from gunicorn.ctl.client import ControlClient, ControlClientError
    except ImportError:
        raise ServerUnknown('this gunicorn has no control socket') from None
    path = directory.control_sockets[0]
    if not path.exists():
        raise ServerUnknown(f'gunicorn has no control socket at {path}')
    try:
        with ControlClient(str(path), ASK_S) as client:
            return ServerSettings.of(client.send_command('show config'))
    except ControlClientError as ex:
        raise ServerUnknown(f'gunicorn does not answer: {ex}') from ex


def read(
    config: Path | str, environ: Mapping[str, str] = os.environ, wait_s: float = READ_S
) -> ServerSettings:
    """Have gunicorn read a configuration file; blocks for ``wait_s`` at the most.

    The file is run, as gunicorn runs it. No application is loaded.

    Args:
        config: the file, or ``python:MODULE``.
        environ: the environment, with ``GUNICORN_CMD_ARGS``.
        wait_s: seconds that this may take.

    Raises:
        ServerUnknown: gunicorn refuses the file, or takes too long.
    """
    command = [sys.executable, '-c', _CHILD, ','.join(NAMES), '-c', str(config)]
    try:
        done = subprocess.run(
            command,
            env=dict(environ),
            capture_output=True,
            text=True,
            errors='replace',
            timeout=wait_s,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ServerUnknown(f'{config} is not read within {wait_s:g} s') from None
    _, found, last = done.stdout.rpartition('\0')
    if not found:
        # The last line of a traceback says most, and a bracket may follow it.
        said = [line for line in done.stderr.splitlines() if re.search(r'\w', line)]
        why = said[-1] if said else f'exit code {done.returncode}'
        raise ServerUnknown(f'gunicorn cannot read {config}: {why}')
    return ServerSettings.of(json.loads(last))
