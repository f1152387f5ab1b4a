"""The clocks: the one place that says which is asked for what.

What decides something (what has expired, which is older, whose time is over) is decided
by the time since the machine was booted. It goes on through a suspend, nobody can set
it, and all processes of a time namespace read the same; one of another is refused when
it says hello. A reboot begins it anew, so a stamp that may outlive one has the boot's
id beside it. The wall clock can be set, by hours and at any moment: it is for showing,
for what leaves the machine (tokens), and for the age of what an earlier boot has left.
How long this process itself waits for something is measured with ``time.monotonic``.
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
        # The kernel has none: there is one clock.
        return 0


# Both are read at once: an event loop that ends a stream must not read files.
BOOT: Final = _boot()
"""The id of this boot, half of it: 64 random bits. 0 where it is not shown (``/proc``
with ``subset=pid``): what an earlier boot has left on a disk is taken for this boot's
there, and may be kept for its TTL anew."""

TIME_SPACE: Final = _time_space()
"""Which time namespace this process is in."""


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
    """Nanoseconds since the machine was booted; what decides."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wall_ns() -> int:
    """Unix time in nanoseconds; for showing."""
    return time.time_ns()


def moment() -> Moment:
    """This moment."""
    return Moment(wall_ns(), now_ns(), BOOT)


def since_boot(then: Moment) -> int:
    """Return when ``then`` was on this boot's clock, never later than now.

    What happened on an earlier boot is as old as the wall clock says, and new if that
    says nonsense; the result may be below zero.
    """
    now = now_ns()
    if then.boot == BOOT:
        return min(then.now_ns, now)
    return now - max(wall_ns() - then.wall_ns, 0)
