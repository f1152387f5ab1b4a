"""Keeps the settings of a supervisor in a file, for its successor."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import asdict
from pathlib import Path

from shmstream.supervisor.config import SupervisorConfig

log = logging.getLogger('shmstream.supervisor')


def save(config: SupervisorConfig, path: Path) -> None:
    """Write the settings to a file, for a successor.

    Raises:
        OSError: the file cannot be written.
    """
    aside = path.with_suffix('.new')
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, 'w', encoding='utf-8') as file:
        json.dump(asdict(config), file)
    os.rename(aside, path)


def load(path: Path, default: SupervisorConfig | None = None) -> SupervisorConfig:
    """Read the settings that a predecessor saved; never fails.

    From a file of another version, only the settings that this version knows are used.
    A damaged file is ignored: an error would leave the deployment without a supervisor.

    Args:
        path: the file.
        default: the settings to use where the file has none.
    """
    values = asdict(default or SupervisorConfig())
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
    return SupervisorConfig(**values)


def _fits(value: object, known: object) -> bool:
    if isinstance(value, bool) or isinstance(known, bool):
        return isinstance(value, bool) and isinstance(known, bool)
    if not isinstance(value, int | float) or not isinstance(known, int | float):
        return False
    # Python's JSON parser accepts NaN and Infinity too.
    whole = isinstance(value, int) or isinstance(known, float)
    return whole and math.isfinite(value) and value >= 0
