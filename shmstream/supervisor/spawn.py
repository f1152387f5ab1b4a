"""Starting a supervisor, and asking for one."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from shmstream.control.client import REPLY_S, call, connect
from shmstream.control.wire import Message
from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.config import SupervisorConfig

START_S = 10.0
"""As long as a supervisor may take to come up on a busy machine."""

REFUSED = 1
"""Exit code of a supervisor that cannot begin; it has said why."""

STARTED_OVER = 3
"""Exit code of one that has lost its directory: a successor can begin anew."""

_POLL_S = 0.02


_children: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """Supervisors outlive who started them, on purpose: not a leak to warn about."""
    for child in _children:
        if child.poll() is None:
            child.returncode = 0


def spawn(
    directory: RuntimeDirectory, config: SupervisorConfig | None, masters: list[int]
) -> subprocess.Popen[bytes]:
    """Start a supervisor process. It ends by itself at once if there is one already.

    A new program, not a fork: a fork would keep the listening sockets of whoever
    starts it open for as long as it lives.
    """
    command = [sys.executable, '-m', 'shmstream.supervisor']
    command += ['--directory', os.fspath(directory.path)]
    if config is not None:
        command += ['--config', json.dumps(asdict(config))]
    for pid in masters:
        command += ['--master', str(pid)]
    package = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(p for p in (str(package), os.getenv('PYTHONPATH')) if p)
    # Settings come as arguments, and secrets (API keys) are none of its business.
    env = {k: v for k, v in os.environ.items() if not k.startswith('SHMSTREAM_')}
    # Reaped here: nobody waits for one that ends.
    _children[:] = [child for child in _children if child.poll() is None]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # Ctrl-C in a terminal is for the masters; it leaves when they have gone.
        start_new_session=True,
        env=env | {'PYTHONPATH': path},
    )
    _children.append(child)
    return child


def ask(
    directory: RuntimeDirectory,
    op: str,
    *,
    reply_s: float = REPLY_S,
    **fields: object,
) -> Message:
    """Make one request over a connection of its own; it takes no slot.

    Args:
        directory: where the supervisor is.
        op: the operation; see ``control.wire``.
        reply_s: seconds to wait for the reply.
        **fields: the operation's fields.

    Raises:
        SupervisorUnavailable: there is no supervisor, or it does not answer.
    """
    try:
        with connect(directory, reply_s) as sock:
            return call(sock, {'op': op, **fields}, reply_s)[0]
    except OSError as ex:
        raise SupervisorUnavailable(
            f'no supervisor in {directory.path}: {ex.strerror or ex}'
        ) from ex


def start(
    directory: RuntimeDirectory, config: SupervisorConfig | None, masters: list[int]
) -> Message:
    """Start a supervisor and wait until it serves; returns its status.

    Raises:
        SupervisorUnavailable: it did not come up; it has said why on stderr.
    """
    process = spawn(directory, config, masters)
    deadline = time.monotonic() + START_S
    while True:
        try:
            return ask(directory, 'status')
        except SupervisorUnavailable as ex:
            ended = process.poll()
            if ended or time.monotonic() >= deadline:
                raise SupervisorUnavailable(
                    f'the supervisor did not come up (exit code {ended})'
                ) from ex
        time.sleep(_POLL_S)
        if ended == 0:
            # There was another, but it is just leaving.
            process = spawn(directory, config, masters)


def ensure(
    directory: RuntimeDirectory, config: SupervisorConfig | None, masters: list[int]
) -> None:
    """Start a supervisor unless one serves already. Raises as ``start``."""
    try:
        ask(directory, 'status')
    except SupervisorUnavailable:
        start(directory, config, masters)


def wait_gone(directory: RuntimeDirectory, wait_s: float) -> bool:
    """Wait until no supervisor answers; False if one still does after ``wait_s``."""
    deadline = time.monotonic() + wait_s
    while os.path.exists(directory.lock):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
