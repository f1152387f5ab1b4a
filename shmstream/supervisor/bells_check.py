"""Checks how the doorbells of this deployment can work, before anything is made.

::

    /dev/shm can be written to             the doorbells are semaphores
    /dev/shm is absent or read-only        the doorbells are pipes in the runtime
                                           directory (``wakeups.stand_in``)
    the directory cannot hold pipes,       there can be no doorbells: the supervisor
      either                               refuses to start
"""

from __future__ import annotations

import errno
import logging
import os

from shmstream.errors import DirectoryRefused
from shmstream.memory.directory import RuntimeDirectory
from shmstream.wakeups.pipe import PIPE_PREFIX

log = logging.getLogger('shmstream.supervisor')

_SEMAPHORES = '/dev/shm'

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def check_bells(directory: RuntimeDirectory) -> None:
    """Log a warning if doorbells can only be pipes.

    Args:
        directory: the runtime directory.

    Raises:
        DirectoryRefused: doorbells can be neither semaphores nor pipes. A full file
            system does not count, because it may have room later.
    """
    if os.access(_SEMAPHORES, os.W_OK | os.X_OK):
        return
    there = os.path.isdir(_SEMAPHORES)
    why = 'cannot be written to' if there else 'is not there'
    # If this check is killed, its pipe is removed together with the doorbells.
    path = directory.path / f'{PIPE_PREFIX}check'
    try:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        path.unlink()
    except OSError as ex:
        if ex.errno not in _FULL:
            raise DirectoryRefused(
                f'{_SEMAPHORES} {why}, so there are no semaphores, and no pipes in'
                f' {directory.path} either ({ex.strerror}): set SHMSTREAM_DIR to a'
                ' directory on another file system'
            ) from ex
    log.warning('%s %s: processes are rung by pipes', _SEMAPHORES, why)
