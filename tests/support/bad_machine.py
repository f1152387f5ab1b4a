"""Runs in a mount namespace of its own, on a machine as bad as the doctor knows them.

``unshare -m python -m tests.support.bad_machine`` prints what each check finds, before
and after its place has been made bad.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from shmstream.doctor import ServerSettings
from shmstream.doctor.case import Case
from shmstream.doctor.examination import CHECKS, run
from shmstream.memory.directory import RuntimeDirectory
from shmstream.settings import Settings

USER = 61_234
"""A user without a name, that is no system user."""


def main() -> None:
    """Look, make one thing bad, look again."""
    found: dict[str, list[list[str]]] = {}
    checks = {check.name: check for check in CHECKS}
    mount = ['mount', '-t', 'tmpfs', '-o']

    def look(name: str, **settings: str) -> None:
        place = settings.pop('place', '/dev/shm/run')
        environ = {f'SHMSTREAM_{k}': v for k, v in settings.items()}
        directory = RuntimeDirectory(Path(place))
        settled = Settings.from_environment(environ | {'SHMSTREAM_DIR': place})
        case = Case(environ, directory, USER, None, settled, ServerSettings(workers=2))
        seen = run(checks[name], case)
        found.setdefault(name, []).append([seen.result, seen.what, seen.do])

    def tmpfs(path: str, options: str) -> None:
        subprocess.run([*mount, options, 'tmpfs', path], check=True)

    def replace(path: str, text: str) -> None:
        with tempfile.NamedTemporaryFile('w', delete=False) as file:
            file.write(text)
        subprocess.run(['mount', '--bind', file.name, path], check=True)

    tmpfs('/dev/shm', 'size=1g')
    look('room')
    tmpfs('/dev/shm', 'size=64m')
    look('room')
    look('room', SESSION_BYTES='64KiB')
    look('room', SESSION_BYTES='64KiB', MAX_MEMORY='65MiB')

    look('file system')
    tmpfs('/dev/shm', 'size=64m,ro')
    look('file system')
    tmpfs('/dev/shm', 'size=1g')

    look('mappings')
    replace('/proc/sys/vm/max_map_count', '1024\n')
    look('mappings')

    look('memory limit')
    tmpfs('/sys/fs/cgroup', 'size=1m')
    for folder, file in (('', 'memory.max'), ('memory', 'memory.limit_in_bytes')):
        Path('/sys/fs/cgroup', folder).mkdir(exist_ok=True)
        Path('/sys/fs/cgroup', folder, file).write_text(f'{300 << 20}\n')
    look('memory limit')
    look('memory limit', MAX_MEMORY='64MiB')

    tmpfs('/run', 'size=1m')
    look('RemoveIPC')
    Path('/run/systemd/seats').mkdir(parents=True)
    Path('/etc/systemd').mkdir(exist_ok=True)
    tmpfs('/etc/systemd', 'size=1m')
    look('RemoveIPC')
    look('RemoveIPC', place='/run/shmstream')
    Path('/etc/systemd/logind.conf').write_text('[Login]\n#RemoveIPC=yes\n')
    Path('/etc/systemd/logind.conf.d').mkdir()
    Path('/etc/systemd/logind.conf.d/ours.conf').write_text('[Login]\nRemoveIPC=no\n')
    look('RemoveIPC')
    print(json.dumps(found))


if __name__ == '__main__':
    main()
