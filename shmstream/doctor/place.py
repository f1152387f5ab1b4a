"""The runtime directory: whose it is, who removes its files, what is left behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, note, ok, unknown
from shmstream.doctor.running import locked
from shmstream.errors import DirectoryRefused
from shmstream.memory.directory import RuntimeDirectory

SHM = Path('/dev/shm')
_SEMAPHORE = 'sem.shmstream-'
_MOST = 10_000
"""Names that are looked at in one folder."""

SYSTEM_USERS = 999
"""The highest id of a system user, as Debian, Fedora and systemd have it."""

_LOGIND = ('/usr/lib/systemd', '/usr/local/lib/systemd', '/run/systemd', '/etc/systemd')
"""Where systemd-logind's configuration is; a later folder wins."""


def directory(case: Case) -> Finding:
    """Look at the directory's owner and mode, or whether it can be made."""
    path = case.directory.path
    try:
        case.directory.check_place(case.user)
        if path.exists():
            RuntimeDirectory(path).check(case.user)
    except DirectoryRefused as ex:
        return bites(str(ex), 'mend that, or set SHMSTREAM_DIR to another directory')
    owner = f'user {case.user}'
    if not path.exists():
        return ok(f'{path} is not there yet; {owner} can make it')
    return ok(f'{path} is private to {owner}')


def key_file(case: Case) -> Finding:
    """Look at who may read the file of API keys."""
    text = case.environ.get('SHMSTREAM_API_KEYS_FILE', '').strip()
    if not text:
        return ok('no file of API keys is set')
    try:
        mode = os.stat(text).st_mode
    except OSError as ex:
        return unknown(f'{text} cannot be looked at: {ex.strerror}')
    if mode & 0o007:
        return bites(
            f'every user of this machine may use the keys in {text}', f'chmod o= {text}'
        )
    return ok(f'{text} is closed to other users')


def remove_ipc(case: Case) -> Finding:
    """Look whether systemd-logind would take the files of this user away.

    With ``RemoveIPC=yes``, its default, it removes everything in ``/dev/shm`` that
    belongs to a user as soon as the user's last login session ends. System users are
    spared.
    """
    if not Path('/run/systemd/seats').exists():
        return ok('systemd-logind does not run here')
    if not case.directory.path.is_relative_to(SHM):
        return ok(f'{case.directory.path} is not in {SHM}, where logind removes files')
    if case.user <= SYSTEM_USERS:
        return ok(f'user {case.user} is a system user, whose files logind leaves alone')
    if not removes_ipc():
        return ok('logind leaves the files of users alone (RemoveIPC=no)')
    name = str(case.user)
    with contextlib.suppress(KeyError):
        name = pwd.getpwuid(case.user).pw_name
    what = f'logind removes what {name} has in {SHM}, once {name} logs out'
    if Path('/var/lib/systemd/linger', name).exists():
        return note(f'{what}; it lingers, so that is never', '')
    return bites(
        f'{what}: all streams are lost then',
        'run as a system user (useradd --system), or set RemoveIPC=no in'
        ' /etc/systemd/logind.conf, or set SHMSTREAM_DIR to a folder in /run',
    )


def removes_ipc() -> bool:
    """Return what systemd-logind's configuration says of ``RemoveIPC``."""
    files = [Path(folder, 'logind.conf') for folder in _LOGIND]
    more: dict[str, Path] = {}
    for folder in _LOGIND:
        for path in Path(folder, 'logind.conf.d').glob('*.conf'):
            # A file of the same name in a later folder takes its place.
            more[path.name] = path
    said = True
    for path in (*files, *(more[name] for name in sorted(more))):
        try:
            lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition('=')
            if name.strip() == 'RemoveIPC' and value.strip():
                said = value.strip().lower() in ('1', 'yes', 'true', 'on')
    return said


def leftovers(case: Case) -> Finding:
    """Look for directories and semaphores that a killed deployment has left."""
    try:
        left = [str(path) for path in stale_directories(case)]
        left += [str(path) for path in stale_semaphores(case.user)]
    except OSError as ex:
        return unknown(f'what is left cannot be looked at: {ex}')
    if not left:
        return ok('nothing is left of an earlier deployment')
    shown = ', '.join(left[:3]) + (f' and {len(left) - 3} more' if left[3:] else '')
    return note(f'left by a deployment that was killed: {shown}', 'shmstream clean')


def stale_directories(case: Case) -> Iterator[Path]:
    """Yield the runtime directories of this user in which nobody lives."""
    places = {path for path, _ in _mine(SHM, 'shmstream-', case.user, stat.S_ISDIR)}
    for path in sorted(places | {case.directory.path}):
        place = RuntimeDirectory(path)
        try:
            # A supervisor locks the one file, and each worker a byte of the other.
            used = [locked(file) for file in (place.lock, place.table) if file.exists()]
        except FileNotFoundError:
            continue
        if used and not any(used):
            yield path


def stale_semaphores(user: int) -> Iterator[Path]:
    """Yield the semaphores of this user's deployments that no process has mapped."""
    found = dict(_mine(SHM, _SEMAPHORE, user, stat.S_ISREG))
    if not found:
        return
    used: set[int] = set()
    for maps in Path('/proc').glob('[0-9]*/maps'):
        try:
            with maps.open('rb') as file:
                used |= {int(line.split()[4]) for line in file if b'/sem.shm' in line}
        except OSError:
            # It has gone, or is another user's, who has no semaphores of this user.
            continue
    yield from sorted(path for path, inode in found.items() if inode not in used)


def _mine(
    folder: Path, prefix: str, user: int, kind: Callable[[int], bool]
) -> Iterator[tuple[Path, int]]:
    with os.scandir(folder) as entries:
        for _, entry in zip(range(_MOST), entries, strict=False):
            if not entry.name.startswith(prefix):
                continue
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if found.st_uid == user and kind(found.st_mode):
                    yield Path(entry.path), found.st_ino
