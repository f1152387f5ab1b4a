"""The clocks: time namespaces, and whether the wall clock was set."""

from __future__ import annotations

import os
import time
from pathlib import Path

from shmstream import clock
from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, note, ok, unknown

_JUMP_S = 5.0
"""A wall clock that is set by less than this is being kept right."""

_OLDEST = 1_767_225_600
"""The beginning of 2026: a wall clock before it was never set."""


def clocks(case: Case) -> Finding:
    """Look at the clocks: time namespaces, and whether the wall clock was set."""
    wall_s = clock.wall_ns() / clock.NS
    if wall_s < _OLDEST:
        return bites(
            f'the wall clock says {time.strftime("%Y-%m-%d", time.gmtime(wall_s))}',
            'set it (timedatectl set-ntp true): certificates and tokens depend on it',
        )
    if case.running is None:
        return ok('the wall clock is set')
    pid = case.running.pid
    try:
        space = os.stat(f'/proc/{pid}/ns/time').st_ino
        began = os.stat(case.directory.settings).st_mtime
        fields = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8')
    except OSError as ex:
        return unknown(f'the clocks of process {pid} cannot be looked at: {ex}')
    if space != clock.TIME_SPACE:
        return bites(
            f'the supervisor (process {pid}) has another time namespace',
            'run all processes of the deployment in one time namespace',
        )
    # The supervisor writes its settings when it starts. So the wall clock's time of the
    # file, and the time since boot at which the process began, tell of one moment.
    ticks = int(fields.rpartition(')')[2].split()[19])
    since_s = clock.now_ns() / clock.NS - ticks / os.sysconf('SC_CLK_TCK')
    jump_s = wall_s - began - since_s
    if abs(jump_s) > _JUMP_S:
        return note(
            f'the wall clock was set by {jump_s:+.0f} s since the deployment began',
            'times that are shown, and tokens, are off by that; what expires is not',
        )
    return ok('the wall clock is set, and has not jumped')
