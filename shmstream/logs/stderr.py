"""The log of a process that has no gunicorn: the supervisor's, on stderr."""

from __future__ import annotations

import logging

from shmstream.logs.form import in_json
from shmstream.logs.json_lines import JsonLines
from shmstream.logs.repeats import watch_repeats


def log_to_stderr(level: int) -> None:
    """Write what is logged in this process to stderr.

    Args:
        level: the lowest level that is logged.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines()
        if in_json()
        else logging.Formatter(
            '[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s',
            '%Y-%m-%d %H:%M:%S %z',
        )
    )
    watch_repeats([handler])
    logging.basicConfig(level=level, handlers=[handler])


def level_here() -> int:
    """Return the level of this process's log of shmstream, for a process it starts."""
    return logging.getLogger('shmstream').getEffectiveLevel()
