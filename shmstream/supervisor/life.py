"""A life of a deployment: a new supervisor adopts the present life, or begins another.

::

    the table in the directory      a worker has a slot      no worker has a slot
    ------------------------------  -----------------------  ---------------------------
    none                            -                        begin
    of this version                 adopt: settings and      remove its bells, begin
                                    limit are as they were
    of another version, or damaged  refuse                   refuse if a stream is being
                                                             written; else remove its
                                                             bells, begin
    not of shmstream                refuse                   refuse

The caller holds ``supervisor.lock``. Streams outlast a life: the registry adopts them
in either case, so that streams on a disk survive a reboot.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shmstream.errors import DirectoryRefused, LayoutMismatch, SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.slot_locks import SlotLocks
from shmstream.memory.worker_table import TableHead, WorkerTable, read_head
from shmstream.ring.layout import MAX_SLOTS
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.leftovers import Leftovers
from shmstream.supervisor.saved_config import load, save

log = logging.getLogger('shmstream.supervisor')

_BLOCK = 512


def begin(
    directory: RuntimeDirectory, given: SupervisorConfig | None
) -> tuple[WorkerTable, SupervisorConfig]:
    """Adopt the present life of the deployment, or begin another.

    Args:
        directory: the runtime directory; the caller holds its ``supervisor.lock``.
        given: settings for a new life; None: those of the last life.

    Returns:
        The worker table, and the settings, with ``max_memory`` in bytes and not 0.

    Raises:
        DirectoryRefused: the directory is in use by others.
    """
    found = _adopt(directory)
    if isinstance(found, WorkerTable):
        # The settings that this life began with stay valid, even if the process that
        # started this successor has given others.
        config = load(directory.settings, given)
        try:
            save(config, directory.settings)
        except OSError as ex:
            # A full file system is no reason not to serve.
            log.warning('%s is left as it is: %s', directory.settings, ex.strerror)
        return found, replace(config, max_memory=found.limit)
    # The old table stays until the new one replaces it: if this supervisor dies in
    # between, the next one reads there which bells to remove.
    _sweep(directory, found)
    config = given or load(directory.settings)
    save(config, directory.settings)
    limit = config.max_memory or _half_of_what_is_free(directory)
    table = WorkerTable.create(directory.table, directory.made, limit)
    return table, replace(config, max_memory=limit)


def _adopt(directory: RuntimeDirectory) -> WorkerTable | TableHead | None:
    """Return the table if it is in use, else its first words; None: there is no table.

    Raises:
        DirectoryRefused: as ``begin``.
    """
    try:
        locks = SlotLocks(directory.table)
    except FileNotFoundError:
        return None
    except OSError as ex:
        raise _not_ours(directory, f'it cannot be opened: {ex.strerror}') from ex
    with contextlib.closing(locks), locks.all_vacant() as nobody:
        head = read_head(locks.fd)
        try:
            table = WorkerTable.attach(directory.table)
        except SupervisorUnavailable:
            return None
        except LayoutMismatch as ex:
            if not (head.blank or head.is_table or directory.settings.exists()):
                raise _not_ours(directory, str(ex)) from ex
            if not nobody:
                raise _in_use(directory, f'{ex}, and processes use it') from ex
            if path := being_written(directory):
                raise _in_use(directory, f'{ex}, and {path} is being written') from ex
            log.warning('%s: %s; nobody uses it: beginning anew', directory.table, ex)
        else:
            if not nobody:
                return table
            # If a worker has just got a slot in this table, it will find that its epoch
            # is no longer there.
            for slot in range(MAX_SLOTS):
                table.free(slot)
        return head


def _not_ours(directory: RuntimeDirectory, why: str) -> DirectoryRefused:
    return DirectoryRefused(
        f"{directory.table}: {why}; is {directory.path} somebody else's?"
        ' If not, remove it'
    )


def _in_use(directory: RuntimeDirectory, why: str) -> DirectoryRefused:
    return DirectoryRefused(
        f'{directory.table}: {why}: stop the processes that use it, or set'
        ' SHMSTREAM_DIR to another directory'
    )


def being_written(directory: RuntimeDirectory) -> Path | None:
    """Return the path of a stream that has a producer, of whatever version."""
    for path, _ in _segments(directory):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return path
        finally:
            os.close(fd)
    return None


def _segments(directory: RuntimeDirectory) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(directory.sessions) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield Path(entry.path), found


def _sweep(directory: RuntimeDirectory, head: TableHead | None) -> None:
    """Remove the bells of a life that is over, and the files that it left half made."""
    leftovers = Leftovers()
    leftovers.remove_bells(directory, head.token if head is not None else 0)
    for path in (directory.table, directory.settings, directory.metrics):
        leftovers.remove_file(path.with_suffix('.new'))
    leftovers.report()


def _half_of_what_is_free(directory: RuntimeDirectory) -> int:
    room = os.statvfs(directory.path)
    # The streams of earlier lives will be counted against the limit, so their memory is
    # added to what is free.
    ours = sum(found.st_blocks * _BLOCK for _, found in _segments(directory))
    return (room.f_bavail * room.f_frsize + ours) // 2
