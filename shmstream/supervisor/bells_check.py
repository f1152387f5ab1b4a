"""Whether processes can be rung in this place, found out before anything is made.

::

    /dev/shm can be written to      by semaphores
    it is absent or read-only       by pipes in the directory (``wakeups.stand_in``)
    that cannot hold pipes either   not at all: refused
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
    """Say so if there are only pipes.

    Raises:
        DirectoryRefused: there is neither. That a file system is full is another
            matter: it may have room later.
    """
    if os.access(_SEMAPHORES, os.W_OK | os.X_OK):
        return
    there = os.path.isdir(_SEMAPHORES)
    why = 'cannot be written to' if there else 'is not there'
    # What a check that was killed has left goes with the other bells.
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
