"""What is examined: the settings, gunicorn's settings, and who runs with them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shmstream.doctor.running import Running, find
from shmstream.doctor.server import ServerSettings, ServerUnknown, ask_running, read
from shmstream.errors import ShmstreamError
from shmstream.memory.directory import RuntimeDirectory, default_directory
from shmstream.settings import Settings

CONFIG = Path('gunicorn.conf.py')
"""The file that gunicorn reads by itself if it is in the working directory."""

SERVICE = 'python:shmstream.deploy.service_conf'
"""The configuration of ``shmstream serve``."""


class NoSettings(ShmstreamError):
    """The settings are not valid, so what depends on them cannot be looked at."""


@dataclass(frozen=True)
class Case:
    """A deployment that runs, or one that is about to.

    Attributes:
        environ: the environment that it has, or would have.
        directory: its runtime directory.
        user: the id of the user of its workers.
        running: what runs in the directory; None if nothing does.
        found: its settings, or the line that says why they are refused.
        told: gunicorn's settings, or the line that says why they are not known.
    """

    environ: Mapping[str, str]
    directory: RuntimeDirectory
    user: int
    running: Running | None
    found: Settings | str
    told: ServerSettings | str

    @property
    def settings(self) -> Settings:
        """Its settings; raises ``NoSettings``."""
        if isinstance(self.found, str):
            raise NoSettings('the settings are not valid')
        return self.found

    @property
    def server(self) -> ServerSettings:
        """Gunicorn's settings; raises ``ServerUnknown``."""
        if isinstance(self.told, str):
            raise ServerUnknown(self.told)
        return self.told

    @property
    def limit(self) -> int:
        """Bytes that all sessions may take; raises ``OSError`` and ``NoSettings``."""
        if self.running is not None:
            return int(self.running.status['max_memory'])
        return self.settings.max_memory or self.free // 2

    @property
    def free(self) -> int:
        """Bytes that sessions could take: what is free, and what they have already."""
        room = os.statvfs(self.place)
        held = self.running.status['memory'] if self.running is not None else 0
        return room.f_bavail * room.f_frsize + int(held)

    @property
    def place(self) -> Path:
        """The runtime directory, or the folder in which it would be made."""
        path = self.directory.path
        return path if path.exists() else path.parent


def examined(
    directory: Path | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Case:
    """Find out what is to be examined; blocks for some seconds at the most.

    If a deployment runs in the directory, its own environment counts, and what its
    gunicorn tells: the shell of whoever asks has other settings. Otherwise it is the
    deployment that this environment would start.

    Args:
        directory: the runtime directory; None: as the environment says.
        config: the configuration file of gunicorn; None: ``gunicorn.conf.py`` of the
            working directory, or that of ``shmstream serve`` if there is none.
        environ: the environment.

    Example::

        case = examined(Path('/dev/shm/shmstream-1000'))
    """
    if directory is None:
        directory = Path(environ.get('SHMSTREAM_DIR') or default_directory())
    place = RuntimeDirectory(directory)
    running = find(place)
    user = future_user(place) if running is None else running.user
    if running is not None and running.environ is not None:
        environ = running.environ
    # The directory as it is given here, and not as a running deployment has it; and
    # without the key of the command line, which is no setting.
    environ = {k: v for k, v in environ.items() if k != 'SHMSTREAM_KEY'}
    environ['SHMSTREAM_DIR'] = str(directory)
    found: Settings | str
    try:
        found = Settings.from_environment(environ, user)
    except ShmstreamError as ex:
        found = str(ex)
    told: ServerSettings | str
    try:
        told = ask_running(place) if running is not None else _planned(config, environ)
    except ServerUnknown as ex:
        told = str(ex)
    return Case(environ, place, user, running, found, told)


def future_user(directory: RuntimeDirectory) -> int:
    """Return the id of the user that a deployment in this directory would run as.

    That is this user. But root may have gunicorn run as the owner of the directory.
    """
    me = os.geteuid()
    if me == 0:
        with contextlib.suppress(OSError):
            return os.lstat(directory.path).st_uid
    return me


def _is_ours(file: Path) -> bool:
    """Whether only this user and root may have written a file, or put it there."""
    looked = (file.stat(), file.absolute().parent.stat())
    return all(
        found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022
        for found in looked
    )


def _planned(config: Path | None, environ: Mapping[str, str]) -> ServerSettings:
    if config is None and CONFIG.is_file():
        if not _is_ours(CONFIG):
            # To read it is to run it.
            raise ServerUnknown(
                f'{CONFIG} here may be of others; if it is not, name it by --config'
            )
        config = CONFIG
    return read(config or SERVICE, environ)
