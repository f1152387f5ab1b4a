"""Starting a supervisor, and asking for one.

Its interpreter is given nothing that a stranger could have put in the way::

    -P                  nothing from the working directory
    no PYTHONPATH       nothing from there before the standard library
    isolated.py         this very package, from where it was loaded
    end of sys.path     where ``posix_ipc`` was loaded from
    cwd /               and nobody's file system is kept busy
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
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor.config import SupervisorConfig

START_S = 10.0
"""As long as a supervisor may take to come up on a busy machine."""

REFUSED = 1
"""Exit code of a supervisor that cannot begin; it has said why."""

STARTED_OVER = 3
"""Exit code of one that has lost its directory: a successor can begin anew."""

_POLL_S = 0.02

# Found now: relative places mean something else once somebody has changed directory.
_ISOLATED = str(Path(__file__).resolve().with_name('isolated.py'))
_POSIX_IPC_ROOT = str(Path(posix_ipc.__file__).resolve().parent)


@dataclass(frozen=True)
class Account:
    """Whom gunicorn's workers run as, if its master changes that; so the supervisor.

    Attributes:
        uid: the user; None: whoever starts it.
        gid: the group; None: likewise.
        groups: the supplementary groups; None: likewise.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None

    @classmethod
    def of(cls, uid: int, gid: int, initgroups: bool) -> Account:
        """The account of a worker with these settings of gunicorn.

        It is what gunicorn makes of them: 0 is no change, and the supplementary groups
        stay the master's unless they are asked for.
        """
        groups = None
        if gid and uid and initgroups:
            try:
                name = pwd.getpwuid(uid).pw_name
            except KeyError:
                # A user without a name is in no groups.
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
        """The user's number, whoever it is."""
        return os.geteuid() if self.uid is None else self.uid


ME = Account()


class SupervisorRefused(SupervisorUnavailable):
    """The supervisor ended at once; it, or Python, has said why on stderr."""


_children: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """Supervisors outlive who started them, on purpose: not a leak to warn about."""
    for child in _children:
        if child.poll() is None:
            child.returncode = 0


def spawn(
    directory: RuntimeDirectory,
    config: SupervisorConfig | None,
    masters: list[int],
    account: Account = ME,
) -> subprocess.Popen[bytes]:
    """Start a supervisor process. It ends by itself at once if there is one already.

    A new program, not a fork: a fork would keep the listening sockets of whoever
    starts it open for as long as it lives.

    Raises:
        SupervisorUnavailable: it cannot be run, such as by that user.
    """
    command = [sys.executable, '-P', _ISOLATED, _POSIX_IPC_ROOT]
    command += ['shmstream.supervisor']
    command += ['--directory', os.fspath(directory.path)]
    if config is not None:
        command += ['--config', json.dumps(asdict(config))]
    for pid in masters:
        command += ['--master', str(pid)]
    # Settings come as arguments, and secrets (API keys) are none of its business. The
    # other PYTHON* variables are the interpreter's own, such as where its home is.
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith('SHMSTREAM_') and name != 'PYTHONPATH'
    }
    # Reaped here: nobody waits for one that ends.
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Ctrl-C in a terminal is for the masters; it leaves when they have gone.
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
    """Start a supervisor and wait until it serves; returns its status.

    Raises:
        SupervisorRefused: it cannot begin, and why has been said on stderr.
        SupervisorUnavailable: it did not come up.
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
            # There was another, but it is just leaving.
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
    """Wait until no supervisor answers; False if one still does after ``wait_s``."""
    deadline = time.monotonic() + wait_s
    while os.path.exists(directory.lock):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
