"""Semaphores whose directory is gone; run in a mount namespace with its own /dev/shm.

Here ``clean`` may look at all of /dev/shm: nobody else's deployment is in it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import posix_ipc

from shmstream import Streams, SupervisorConfig
from shmstream.inspection import orphans as module
from shmstream.wakeups.semaphore import semaphore_name
from tests.support.command import run
from tests.support.service import ROOT
from tests.support.unshare import needs_unshare

LEFT, USED = semaphore_name(1, 2), semaphore_name(3, 4)


def main() -> None:
    """Leave one semaphore, use another, and clean."""
    subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/dev/shm'], check=True)
    assert run('clean', '--yes').out == 'nothing is left of dead deployments\n'
    posix_ipc.Semaphore(LEFT, posix_ipc.O_CREX).close()
    used = posix_ipc.Semaphore(USED, posix_ipc.O_CREX)
    # One that is young may be about to be used.
    assert run('clean', '--yes', '--all-semaphores').out.startswith('nothing')
    module.YOUNG_S = -1.0
    with Streams.attach('/dev/shm/other', supervise=SupervisorConfig()) as streams:
        streams.connect()
        found = run('clean', '--dry-run', '--json', '--all-semaphores').json()
        assert found['semaphores'] == [f'/dev/shm/sem.{LEFT[1:]}'], found
        assert run('clean', '--yes', '--all-semaphores').code == 0
        there = {name for name in os.listdir('/dev/shm') if name.startswith('sem.')}
        assert f'sem.{USED[1:]}' in there
        assert f'sem.{LEFT[1:]}' not in there
        streams.create('still works').finish()
        os.kill(streams.status()['pid'], 15)
    used.close()
    print('done')


@needs_unshare
def test_a_semaphore_that_nobody_uses_is_removed_and_no_other() -> None:
    done = subprocess.run(
        ['unshare', '-m', sys.executable, '-m', 'tests.cli.test_orphans'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.endswith('done\n'), done.stderr


if __name__ == '__main__':
    main()
