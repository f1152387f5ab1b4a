"""The clocks, and which one is used for what.

**Time since boot** decides what has expired and which of two is older. This clock goes
on through a suspend, nobody can set it, and all processes of a time namespace read the
same time; the supervisor refuses a process of another time namespace at its hello. A
reboot starts this clock anew, so a stamp that may outlive a reboot is stored together
with the boot's id.

**The wall clock** can be set by hours at any moment. It is for showing, for what leaves
the machine (tokens), and for the age of what an earlier boot has left.

**``time.monotonic``** measures how long this process itself waits for something.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

NS = 1_000_000_000


def _boot() -> int:
    path = Path('/proc/sys/kernel/random/boot_id')
    try:
        return int(path.read_text(encoding='ascii').replace('-', '')[:16], 16)
    except (OSError, ValueError):
        return 0


def _time_space() -> int:
    try:
        return os.stat('/proc/self/ns/time').st_ino
    except OSError:
        # The kernel has no time namespaces: there is one clock for all.
        return 0


# Both are read at import: an event loop that ends a stream must not read files.
BOOT: Final = _boot()
"""Half of the id of this boot: 64 random bits. It is 0 where the kernel does not show
the id (``/proc`` with ``subset=pid``). There, what an earlier boot has left on a disk
seems to be of this boot, and may be kept for one more TTL."""

TIME_SPACE: Final = _time_space()
"""The inode number of this process's time namespace; 0 if the kernel has none."""


class Moment(NamedTuple):
    """One moment on both clocks, as a segment keeps it.

    Attributes:
        wall_ns: unix time.
        now_ns: time since boot.
        boot: the boot's id.
    """

    wall_ns: int
    now_ns: int
    boot: int


def now_ns() -> int:
    """Nanoseconds since the machine was booted; for every decision."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wall_ns() -> int:
    """Unix time in nanoseconds; for showing."""
    return time.time_ns()


def moment() -> Moment:
    """The present moment, on both clocks."""
    return Moment(wall_ns(), now_ns(), BOOT)


def since_boot(then: Moment) -> int:
    """Return when ``then`` was, in ns since this boot, never later than now.

    The age of a moment of an earlier boot is taken from the wall clock, so the result
    may be negative. A moment that the wall clock puts in the future counts as now.
    """
    now = now_ns()
    if then.boot == BOOT:
        return min(then.now_ns, now)
    return now - max(wall_ns() - then.wall_ns, 0)
