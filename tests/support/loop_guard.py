"""Finds calls that block an event loop: each is written to a file, and raises.

Runs within a gunicorn worker. Finding is by the kind of call, not by how long it took:
on a busy machine everything takes long. What ``blockbuster`` knows (sleeping, sockets,
files, locks) is extended by what this project could do wrong.
"""

from __future__ import annotations

import fcntl
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import blockbuster
from blockbuster import BlockBusterFunction
from blockbuster import blockbuster as internals

ALLOWED: dict[str, list[tuple[str, str]]] = {
    # A reader finds its stream by opening and mapping a file of a memory file system;
    # the file is never read through its descriptor. Nobody is asked or waited for.
    'os.open': [
        ('shmstream/memory/segment.py', 'open_segment'),
        ('shmstream/memory/segment.py', 'adopt'),
        ('shmstream/memory/mappings.py', 'share_locked'),
        # Once for each worker that is rung, and for both ends at once: nobody waits.
        ('shmstream/wakeups/pipe.py', 'open_pipe'),
    ],
    # At the first use in a process: the names of its runtime directory are looked up.
    'os.path.abspath': [('shmstream/process/attachment.py', 'attach')],
    # A ring grows some twenty times in its life, by pages of a memory file system: they
    # are zeroed now rather than at the first touch, which would be on the loop as well.
    'os.posix_fallocate': [('shmstream/memory/reservation.py', 'reserve_extent')],
}
"""What may be called on a loop, and where: file and function. Each with its reason."""


def _never(*_: Any, **__: Any) -> bool:
    return False


def _only_tries(_: Any, operation: int) -> bool:
    return bool(operation & (fcntl.LOCK_NB | fcntl.LOCK_UN))


def _does_not_wait(_: Any, timeout: float | None = None) -> bool:
    return timeout == 0


def _does_not_hang(_: int, options: int) -> bool:
    return bool(options & os.WNOHANG)


_MORE: tuple[tuple[str, Callable[..., bool]], ...] = (
    ('builtins.open', _never),
    ('os.open', _never),
    ('os.posix_fallocate', _never),
    ('os.fsync', _never),
    ('os.waitpid', _does_not_hang),
    ('fcntl.flock', _only_tries),
    ('fcntl.lockf', _only_tries),
    ('posix_ipc.Semaphore.acquire', _does_not_wait),
    ('select.select', _never),
    ('socket.getaddrinfo', _never),
    ('socket.create_connection', _never),
    ('subprocess.Popen.__init__', _never),
    ('threading.Thread.join', _never),
)
"""Calls that ``blockbuster`` does not know, and when they are harmless."""


def _guard(own: Mapping[str, list[tuple[str, str]]]) -> blockbuster.BlockBuster:
    guard = blockbuster.BlockBuster()
    for name, harmless in _MORE:
        guard.functions[name] = BlockBusterFunction(
            None, name, can_block_predicate=harmless
        )
    for name, places in [*ALLOWED.items(), *own.items()]:
        for file, function in places:
            guard.functions[name].can_block_in(file, function)
    return guard


def activate(
    found: Path, own: Mapping[str, list[tuple[str, str]]] | None = None
) -> None:
    """Note every call that blocks a running loop of this process, from now on.

    Args:
        found: the file in which they are noted.
        own: as ``ALLOWED``, for what a test's own sources do.
    """

    class Noted(blockbuster.BlockingError):
        def __init__(self, function: str) -> None:
            super().__init__(function)
            stack = ''.join(traceback.format_stack()[-12:-2])
            thread = threading.current_thread().name
            with found.open('a') as file:
                file.write(f'{function} in thread {thread}\n{stack}\n')

    found.touch()
    internals.BlockingError = Noted  # type: ignore[misc, assignment]
    _guard(own or {}).activate()
