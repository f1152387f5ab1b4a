"""Process limits: on descriptors, and on what can be mapped.

Each session is a mapping of the supervisor's, and the kernel allows a process so many
(``vm.max_map_count``). On Python before 3.13 each mapping keeps a descriptor as well.
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
"""One mapping in so many is kept for all else: libraries and the heap."""

_DESCRIPTORS_KEPT = 8
"""One descriptor in so many likewise: workers' connections, their bells, new files."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit on descriptors to the hard one; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def within_reach(config: SupervisorConfig) -> SupervisorConfig:
    """Return the settings, with no more sessions than this process can map.

    One that has no mapping left cannot adopt what its predecessor had, nor do much
    else; so what is configured beyond is said, and not tried.
    """
    limits = {}
    try:
        maps = int(_MAX_MAPS.read_text(encoding='ascii'))
        limits[f'vm.max_map_count is {maps}'] = maps - maps // _MAPS_KEPT
    except (OSError, ValueError) as ex:
        log.warning('%s cannot be read: %s', _MAX_MAPS, ex)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if sys.version_info < (3, 13) and files != resource.RLIM_INFINITY:
        limits[f'descriptors are {files}'] = files - files // _DESCRIPTORS_KEPT
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
