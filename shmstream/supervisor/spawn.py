"""Starting a supervisor process, if there is none yet.

No module of the application can shadow a module that the supervisor imports::

    -P                  no modules from the working directory
    no PYTHONPATH       no modules from that path before the standard library
    isolated.py         this package, from where it was loaded here
    end of sys.path     the folder that ``posix_ipc`` was loaded from
    cwd /               keeps no other file system busy
"""

from __future__ import annotations

import atexit
import json
import os
import pwd
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import posix_ipc

from shmstream.control.request import ask
from shmstream.control.wire import Message
from shmstream.errors import SupervisorUnavailable
from shmstream.logs.form import PASSED_ON
from shmstream.logs.stderr import level_here
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.config import SupervisorConfig

START_S = 30.0
"""Seconds that a supervisor may take to come up on a busy machine."""

REFUSED = 1
"""Exit code of a supervisor that cannot begin; it has said why on stderr."""

STARTED_OVER = 3
"""Exit code of a supervisor whose directory was removed: a successor can begin anew."""

_POLL_S = 0.02

# Resolved at import: relative paths change their meaning if the process changes its
# working directory.
_ISOLATED = str(Path(__file__).resolve().with_name('isolated.py'))
_POSIX_IPC_ROOT = str(Path(posix_ipc.__file__).resolve().parent)


@dataclass(frozen=True)
class Account:
    """The account that the supervisor runs as: that of gunicorn's workers.

    Attributes:
        uid: the user; None: the user of the process that starts the supervisor.
        gid: the group; None: the group of that process.
        groups: the supplementary groups; None: those of that process.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None

    @classmethod
    def of(cls, uid: int, gid: int, initgroups: bool) -> Account:
        """The account of a worker with these settings of gunicorn.

        As in gunicorn, 0 means no change, and without ``initgroups`` the supplementary
        groups are those of the master.
        """
        groups = None
        if gid and uid and initgroups:
            try:
                name = pwd.getpwuid(uid).pw_name
            except KeyError:
                # A user without a name has no supplementary groups.
                pass
            else:
                groups = tuple(os.getgrouplist(name, gid))
        return cls(
            uid=uid if uid and uid != os.getuid() else None,
            gid=gid if gid and gid != os.getgid() else None,
            groups=groups,
        )

    @property
    def user(self) -> int:
        """The number of the user, also if it is this process's."""
        return os.geteuid() if self.uid is None else self.uid


ME = Account()


class SupervisorRefused(SupervisorUnavailable):
    """The supervisor ended at once; it or Python has written the reason to stderr."""


_children: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """Keep ``Popen`` from warning: supervisors outlive their starter on purpose."""
    for child in _children:
        if child.poll() is None:
            child.returncode = 0


def spawn(
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: list[int],
    account: Account = ME,
) -> subprocess.Popen[bytes]:
    """Start a supervisor process. It ends at once if another one serves already.

    It is a new program and not a fork, which would keep the listening sockets of its
    parent open.

    Raises:
        SupervisorUnavailable: the process cannot be started, for example as that user.
    """
    command = [sys.executable, '-P', _ISOLATED, _POSIX_IPC_ROOT]
    command += ['shmstream.supervisor']
    command += ['--directory', os.fspath(directory.path)]
    if config is not None:
        command += ['--config', json.dumps(asdict(config))]
    command += ['--log-level', str(level_here())]
    for pid in masters:
        command += ['--master', str(pid)]
    # The supervisor gets its settings as arguments, and needs no secrets (API keys).
    # All PYTHON* variables but PYTHONPATH stay: the interpreter may need them (such as
    # PYTHONHOME).
    env = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON
        or not (name.startswith('SHMSTREAM_') or name == 'PYTHONPATH')
    }
    # Earlier children that have ended are reaped here, as nobody waits for them.
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # A session of its own, so that Ctrl-C in a terminal reaches the masters
            # only: the supervisor leaves when they have gone.
            start_new_session=True,
            cwd='/',
            env=env,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
    except OSError as ex:
        raise SupervisorUnavailable(
            f'user {account.user} cannot run the supervisor with {sys.executable}:'
            f' {ex.strerror}'
        ) from ex
    _children.append(child)
    return child


def start(
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: list[int],
    account: Account = ME,
) -> Message:
    """Start a supervisor and wait until one serves; return its status.

    Raises:
        SupervisorRefused: the supervisor cannot begin; the reason is on stderr.
        SupervisorUnavailable: no supervisor came up within ``START_S``.
    """
    process = spawn(directory, config, masters, account)
    deadline = time.monotonic() + START_S
    while True:
        try:
            return ask(directory, 'status')
        except SupervisorUnavailable as ex:
            ended = process.poll()
            if ended is not None and ended > 0:
                raise SupervisorRefused('the supervisor did not come up') from ex
            if ended or time.monotonic() >= deadline:
                raise SupervisorUnavailable(
                    f'the supervisor did not come up (exit code {ended}): {ex}'
                ) from ex
        time.sleep(_POLL_S)
        if ended == 0:
            # It ended because there was another supervisor. But that one does not
            # answer, because it is just leaving.
            process = spawn(directory, config, masters, account)


def ensure(
    directory: RuntimeDirectory, config: SupervisorConfig | None, masters: list[int]
) -> None:
    """Start a supervisor unless one serves already. Raises as ``start``."""
    try:
        ask(directory, 'status')
    except SupervisorUnavailable:
        start(directory, config, masters)


def wait_gone(directory: RuntimeDirectory, wait_s: float) -> bool:
    """Wait until there is no supervisor; False if there is one after ``wait_s``."""
    deadline = time.monotonic() + wait_s
    while os.path.exists(directory.lock):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
