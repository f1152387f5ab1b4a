"""The kernel's limits on the supervisor's process: descriptors and mappings.

The supervisor maps each session, and the kernel limits the mappings of a process
(``vm.max_map_count``). Before Python 3.13 each mapping keeps a descriptor too.
"""

from __future__ import annotations

import logging
import resource
import sys
from dataclasses import replace
from pathlib import Path

from shmstream.supervisor.config import SupervisorConfig

log = logging.getLogger('shmstream.supervisor')

_MAX_MAPS = Path('/proc/sys/vm/max_map_count')

_MAPS_KEPT = 32
"""One mapping in 32 is kept for libraries and the heap."""

_DESCRIPTORS_KEPT = 8
"""One descriptor in 8 is kept for workers' connections, their bells, and new files."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit on descriptors to the hard limit; return that limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def mappable() -> tuple[int, int]:
    """Return how many sessions a process can map, and ``vm.max_map_count``.

    Raises:
        OSError, ValueError: the kernel does not tell.
    """
    maps = int(_MAX_MAPS.read_text(encoding='ascii'))
    return maps - maps // _MAPS_KEPT, maps


def session_limits(files: int) -> dict[str, int]:
    """Return how many sessions the limit on descriptors allows, by what it is.

    Args:
        files: the limit; ``RLIM_INFINITY`` is none.
    """
    # From Python 3.13 on, a mapping keeps no descriptor.
    if sys.version_info >= (3, 13) or files == resource.RLIM_INFINITY:
        return {}
    return {f'descriptors are {files}': files - files // _DESCRIPTORS_KEPT}


def within_reach(config: SupervisorConfig) -> SupervisorConfig:
    """Return the settings, with no more sessions than this process can map.

    A supervisor without a mapping left could not adopt its predecessor's sessions, nor
    do much else. So a higher setting is lowered, with a warning.
    """
    limits = session_limits(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    try:
        most, maps = mappable()
        limits[f'vm.max_map_count is {maps}'] = most
    except (OSError, ValueError) as ex:
        log.warning('%s cannot be read: %s', _MAX_MAPS, ex)
    why = min(limits, key=lambda each: limits[each], default='')
    if not why or limits[why] >= config.max_sessions:
        return config
    log.warning(
        '%d sessions are more than can be mapped, as %s: at most %d',
        config.max_sessions,
        why,
        limits[why],
    )
    return replace(config, max_sessions=max(limits[why], 1))
