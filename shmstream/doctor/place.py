"""The runtime directory: whose it is, who removes its files, what is left behind."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, note, ok, unknown
from shmstream.errors import DirectoryRefused
from shmstream.inspection.left_behind import left_behind
from shmstream.memory.directory import RuntimeDirectory

SHM = Path('/dev/shm')

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
    # A directory that is somebody else's, or open to others, another check tells.
    found = left_behind(case.directory)
    lost = found.semaphores
    left = [f'{one.path} ({one.sessions} streams)' for one in found.directories]
    left += map(str, lost.paths)
    if not left and lost.unsure:
        return unknown(
            f'{lost.unsure} semaphores without a directory may be left: {lost.why}',
            'shmstream clean --all-semaphores, if nobody uses them',
        )
    if not left:
        return ok('nothing is left of an earlier deployment')
    shown = ', '.join(left[:3]) + (f' and {len(left) - 3} more' if left[3:] else '')
    return note(f'left by a deployment that was killed: {shown}', 'shmstream clean')
