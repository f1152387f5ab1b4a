"""The runtime directory: private to one user, and the table of all sessions.

::

    supervisor.lock     flock held by the live supervisor
    supervisor.sock     its control socket
    supervisor.json     its settings, for whoever has to start its successor
    workers             the worker table (``worker_table``)
    bell-<epoch>        the pipe by which others ring one worker's event loop
    sessions/<digest>   one segment per session (``segment``)
    sessions/.new-*     a segment that is not a session yet
    sessions/.gone-*    one that is none any more, and that somebody may still map
    sessions/.kept-*    one that has ended, until the pending one of its id has begun

The kernel's directory is the hash table: look-up is ``open``, replacing a session is
``rename`` over it, evicting is ``unlink``, listing is ``scandir``. What is evicted or
replaced while it is mapped is put aside, and counted until it is not (``gone``).
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
"""sockaddr_un.sun_path holds 108 bytes, the last one a zero."""


def default_directory(user: int | None = None) -> Path:
    """Return the directory of a user's only deployment, by default this user's."""
    return Path(f'/dev/shm/shmstream-{os.geteuid() if user is None else user}')


def parse_directory(text: str) -> Path:
    """Read what names a runtime directory; raises ``ValueError``.

    A relative one would be another for each process that has another working directory.
    """
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f'must be an absolute path, not {text!r}')
    return path


def directory_from_environment() -> Path:
    """Return ``$SHMSTREAM_DIR``, or the default if it is unset or blank.

    Raises:
        SettingsError: it is not an absolute path.
    """
    text = os.environ.get('SHMSTREAM_DIR', '').strip()
    try:
        return parse_directory(text) if text else default_directory()
    except ValueError as ex:
        raise SettingsError(f'SHMSTREAM_DIR: {ex}') from None


log = logging.getLogger('shmstream')


@dataclass(frozen=True)
class RuntimeDirectory:
    """The paths inside one runtime directory. Making one touches nothing."""

    path: Path

    @property
    def lock(self) -> Path:
        """File whose flock decides which supervisor lives."""
        return self.path / 'supervisor.lock'

    @property
    def socket(self) -> Path:
        """The supervisor's control socket."""
        return self.path / 'supervisor.sock'

    @property
    def settings(self) -> Path:
        """What a successor of the supervisor has to be started with."""
        return self.path / 'supervisor.json'

    @property
    def table(self) -> Path:
        """The worker table."""
        return self.path / 'workers'

    @property
    def sessions(self) -> Path:
        """The folder of segments."""
        return self.path / 'sessions'

    def segment(self, digest: str) -> Path:
        """Return where the session with this digest is, if it is."""
        return self.sessions / digest

    def gone(self, generation: str) -> Path:
        """Return where the file of this generation is once it is no session."""
        return self.sessions / f'{GONE_PREFIX}{generation}'

    def kept(self, generation: str) -> Path:
        """Return where the file of this generation is while another is pending."""
        return self.sessions / f'{KEPT_PREFIX}{generation}'

    @property
    def made(self) -> bool:
        """Whether ``make`` made it, and nobody who keeps it for us.

        The directory itself says so, by its sticky bit, which changes nothing where
        only its owner may write. Two supervisors may begin at once, or one while the
        other ends: what one of them has made the other has to remove.
        """
        try:
            return bool(os.lstat(self.path).st_mode & stat.S_ISVTX)
        except FileNotFoundError:
            return False

    def create(self) -> None:
        """Make the directory and its folder of sessions; otherwise as ``make``."""
        self.make()
        self.sessions.mkdir(mode=0o700, exist_ok=True)
        _check_private(self.sessions)

    def make(self) -> None:
        """Make the directory, private, unless it is there.

        Raises:
            DirectoryRefused: something is there that is not a directory, not this
                user's, or open to others; or the path is too long for a socket.
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
        """Raise ``DirectoryRefused`` if ``create`` would; makes nothing.

        Args:
            user: who is to have it, default this user. Whether another may make it is
                found out when that user does.
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
        """Raise ``DirectoryRefused`` unless it is there and private to the user."""
        _check_private(self.path, user)


def _check_private(path: Path, user: int | None = None) -> None:
    user = os.geteuid() if user is None else user
    # lstat: a link that someone planted in /dev/shm must not lead us elsewhere.
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
    """Remove what does not belong there; say so if it cannot be."""
    try:
        if path.is_dir() and not path.is_symlink():
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError as ex:
        log.warning('%s cannot be removed: %s', path, ex.strerror)
