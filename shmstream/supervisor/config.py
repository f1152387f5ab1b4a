"""The settings of a supervisor, which it hands on to its successor."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from shmstream import defaults

log = logging.getLogger('shmstream.supervisor')


@dataclass(frozen=True)
class SupervisorConfig:
    """Limits and times.

    Attributes:
        capacity: bytes of a session's ring, unless its creator asks for another size.
        ttl_s: seconds that an ended session is kept.
        gc_interval_s: seconds between two collections.
        max_sessions: sessions at one time.
        max_memory: bytes that all segments may take; 0: half of what the file system
            has free when the deployment begins.
        owner_share: the part of ``max_sessions`` and of ``max_memory`` that one owner
            may have while there are several owners, 0 to 1 (``supervisor.shares``).
        several_owners: whether to apply the shares from the start; if not, they apply
            once there are several owners.
    """

    capacity: int = defaults.CAPACITY_BYTES
    ttl_s: float = defaults.TTL_S
    gc_interval_s: float = defaults.GC_INTERVAL_S
    max_sessions: int = defaults.MAX_SESSIONS
    max_memory: int = 0
    owner_share: float = defaults.OWNER_SHARE
    several_owners: bool = False

    def save(self, path: Path) -> None:
        """Write the settings to a file, for a successor."""
        aside = path.with_suffix('.new')
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, 'w', encoding='utf-8') as file:
            json.dump(asdict(self), file)
        os.rename(aside, path)

    @classmethod
    def load(cls, path: Path, default: SupervisorConfig | None = None) -> Self:
        """Read the settings that a predecessor saved; never fails.

        Of a file of another version, the settings that this version knows are used. A
        damaged file is ignored: an error would leave the deployment without a
        supervisor.

        Args:
            path: the file.
            default: the settings to use where the file has none.
        """
        values = asdict(default or cls())
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
        except FileNotFoundError:
            found = {}
        except (ValueError, OSError) as ex:
            log.warning('%s is damaged, and ignored: %s', path, ex)
            found = {}
        for name, value in found.items() if isinstance(found, dict) else ():
            if _fits(value, values.get(name)):
                values[name] = value
            else:
                log.warning('%s: %s = %r is ignored', path, name, value)
        return cls(**values)


def _fits(value: object, known: object) -> bool:
    if isinstance(value, bool) or isinstance(known, bool):
        return isinstance(value, bool) and isinstance(known, bool)
    if not isinstance(value, int | float) or not isinstance(known, int | float):
        return False
    # Python's JSON parser accepts NaN and Infinity too.
    whole = isinstance(value, int) or isinstance(known, float)
    return whole and math.isfinite(value) and value >= 0
