"""Runs in a mount namespace of its own, without a ``/dev/shm`` to write to (F99).

``python -m tests.support.no_shm HOW`` is what ``unshare -m`` is told to run;
it prints one JSON object of what it saw.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shmstream import Streams
from tests.support.client import path
from tests.support.service import Service

DEVICES = {'null': (1, 3), 'zero': (1, 5), 'urandom': (1, 9), 'random': (1, 8)}


def take_away(how: str) -> None:
    """Make ``/dev/shm`` read-only, or have a ``/dev`` without it."""
    mount = ['mount', '-t', 'tmpfs']
    if how == 'read-only':
        subprocess.run([*mount, '-o', 'ro', 'tmpfs', '/dev/shm'], check=True)
        return
    subprocess.run([*mount, '-o', 'mode=755', 'tmpfs', '/dev'], check=True)
    for name, (major, minor) in DEVICES.items():
        device = os.makedev(major, minor)
        os.mknod(f'/dev/{name}', 0o666 | stat.S_IFCHR, device)
        os.chmod(f'/dev/{name}', 0o666)


def serve(directory: Path, log: Path) -> dict[str, Any]:
    """What a service does there."""
    with Service(log, workers=2, directory=directory) as service:
        client = service.client()
        asked = {'max_tokens': 400, 'tokens_per_second': 100}
        with client.post('a', asked) as post:
            post.until(1)
            # Both workers, and a thread of this process, follow it.
            lives = [client.open('GET', path('a')) for _ in range(6)]
            with Streams.attach(directory) as streams:
                followed = b''.join(streams.open('a').follow())
            whole = post.rest()
            bodies = {bytes(live.rest()) for live in lives}
        with client.post('b', {'max_tokens': 100_000}) as post:
            post.until(1)
            deleted = client.delete(path('b')).status
            post.rest()
        return {
            'same': bodies == {whole} and followed == whole,
            'done': whole.endswith(b'data: [DONE]\n\n'),
            'deleted': deleted,
        }


def main() -> None:
    take_away(sys.argv[1])
    folder = Path(tempfile.mkdtemp())
    seen = serve(folder / 'run', folder / 'log')
    seen['log'] = (folder / 'log').read_text()
    # With the directory where it is by default.
    there = Service(folder / 'second', directory=Path('/dev/shm/shmstream'))
    there.spawn()
    seen['refused'] = [there.wait(), there.text()]
    shutil.rmtree(folder)
    print(json.dumps(seen))


if __name__ == '__main__':
    main()
