"""The runtime directory: private to one user, and the table of all sessions.

::

    supervisor.lock     flock held by the live supervisor
    supervisor.sock     its control socket
    supervisor.json     its settings, for the process that starts its successor
    gunicorn.ctl        gunicorn's control socket (``deploy.control_socket``)
    workers             the worker table (``worker_table``)
    counters            what each process counts (``metrics.blocks``)
    bell-<epoch>        the pipe by which others ring one worker's event loop
    bell-<epoch>-posts  the pipe that stands in for one worker's semaphore
    sessions/<digest>   one segment per session (``segment``)
    sessions/.new-*     a segment that is not a session yet
    sessions/.gone-*    a segment that is no session any more, but may still be mapped
    sessions/.kept-*    an ended session, until the pending session of its id has begun

The kernel's directory is the hash table: look-up is ``open``, replacing a session is
``rename`` over it, evicting is ``unlink``, listing is ``scandir``. A segment that is
evicted or replaced while somebody maps it is renamed to ``.gone-*``, and its memory is
counted until nobody maps it (``supervisor.gone``).
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from shmstream.errors import DirectoryRefused, SettingsError

NEW_PREFIX = '.new-'
GONE_PREFIX = '.gone-'
KEPT_PREFIX = '.kept-'
MAX_SOCKET_PATH = 107
"""Bytes: sockaddr_un.sun_path holds 108, and the last one is a zero."""


def default_directory(user: int | None = None) -> Path:
    """Return the default runtime directory of a user; None: of this user."""
    return Path(f'/dev/shm/shmstream-{os.geteuid() if user is None else user}')


def parse_directory(text: str) -> Path:
    """Return the path of a runtime directory; raises ``ValueError`` if it is relative.

    Processes with different working directories would take a relative path for
    different directories.
    """
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f'must be an absolute path, not {text!r}')
    return path


def directory_from_environment() -> Path:
    """Return ``$SHMSTREAM_DIR``, or the default if it is unset or blank.

    Raises:
        SettingsError: ``$SHMSTREAM_DIR`` is not an absolute path.
    """
    text = os.environ.get('SHMSTREAM_DIR', '').strip()
    try:
        return parse_directory(text) if text else default_directory()
    except ValueError as ex:
        raise SettingsError(f'SHMSTREAM_DIR: {ex}') from None


log = logging.getLogger('shmstream')


@dataclass(frozen=True)
class RuntimeDirectory:
    """The paths inside one runtime directory. Making the object touches no file."""

    path: Path

    @property
    def lock(self) -> Path:
        """The file whose ``flock`` the live supervisor holds."""
        return self.path / 'supervisor.lock'

    @property
    def socket(self) -> Path:
        """The supervisor's control socket."""
        return self.path / 'supervisor.sock'

    @property
    def control_sockets(self) -> tuple[Path, Path]:
        """The control socket of gunicorn, and that of a master's successor."""
        return self.path / 'gunicorn.ctl', self.path / 'gunicorn-2.ctl'

    @property
    def settings(self) -> Path:
        """The settings that a successor of the supervisor is started with."""
        return self.path / 'supervisor.json'

    @property
    def table(self) -> Path:
        """The worker table."""
        return self.path / 'workers'

    @property
    def metrics(self) -> Path:
        """The file in which all processes count."""
        return self.path / 'counters'

    @property
    def sessions(self) -> Path:
        """The folder of segments."""
        return self.path / 'sessions'

    def segment(self, digest: str) -> Path:
        """Return the path of the session with this digest, whether or not it exists."""
        return self.sessions / digest

    def gone(self, generation: str) -> Path:
        """Return the path of this generation's segment after its session has gone."""
        return self.sessions / f'{GONE_PREFIX}{generation}'

    def kept(self, generation: str) -> Path:
        """Return the path of this generation's segment while its session is kept.

        An ended session is kept while another session of its id is pending.
        """
        return self.sessions / f'{KEPT_PREFIX}{generation}'

    @property
    def made(self) -> bool:
        """Whether ``make`` made the directory, and not the operator.

        The directory's sticky bit says so; the bit has no other effect, because only
        the owner may write there. A supervisor cannot remember this by itself: two
        supervisors may begin at once, or one while the other ends, and then one of them
        has to remove what the other one made.
        """
        try:
            return bool(os.lstat(self.path).st_mode & stat.S_ISVTX)
        except FileNotFoundError:
            return False

    def create(self) -> None:
        """Make the directory and its folder of sessions; raises as ``make``."""
        self.make()
        self.sessions.mkdir(mode=0o700, exist_ok=True)
        _check_private(self.sessions)

    def make(self) -> None:
        """Make the directory, private to this user, unless it exists.

        Raises:
            DirectoryRefused: the path exists and is not a directory, not this user's,
                or open to others; or it is too long for a socket, or cannot be made.
        """
        self.check_place()
        try:
            os.mkdir(self.path, 0o700 | stat.S_ISVTX)
        except FileExistsError:
            pass
        except OSError as ex:
            raise DirectoryRefused(
                f'user {os.geteuid()} cannot make {self.path}: {ex.strerror}'
            ) from ex
        self.check()

    def check_place(self, user: int | None = None) -> None:
        """Raise ``DirectoryRefused`` if ``create`` would raise it; makes nothing.

        Args:
            user: the future owner of the directory; None: this user. Whether another
                user may make the directory cannot be known before that user tries.
        """
        if len(os.fsencode(self.socket)) > MAX_SOCKET_PATH:
            raise DirectoryRefused(
                f'{self.path} is too long: a Unix socket path has at most'
                f' {MAX_SOCKET_PATH} bytes'
            )
        if os.path.lexists(self.path):
            self.check(user)
        elif not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise DirectoryRefused(f'user {os.geteuid()} cannot make {self.path}')

    def check(self, user: int | None = None) -> None:
        """Raise ``DirectoryRefused`` unless the directory exists, private to the user.

        Args:
            user: the owner that it must have; None: this user.
        """
        _check_private(self.path, user)


def _check_private(path: Path, user: int | None = None) -> None:
    user = os.geteuid() if user is None else user
    # lstat, because another user may have planted a link in /dev/shm.
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        raise DirectoryRefused(f'{path} is not there: is the service up?') from None
    if not stat.S_ISDIR(found.st_mode):
        raise DirectoryRefused(f'{path} is not a directory')
    if found.st_uid != user:
        raise DirectoryRefused(f'{path} belongs to user {found.st_uid}, not {user}')
    if found.st_mode & 0o077:
        raise DirectoryRefused(
            f'{path} is open to other users; make it private: chmod 700 {path}'
        )


def discard(path: Path) -> None:
    """Remove a file or an empty folder; log a warning if that fails."""
    try:
        if path.is_dir() and not path.is_symlink():
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError as ex:
        log.warning('%s cannot be removed: %s', path, ex.strerror)
