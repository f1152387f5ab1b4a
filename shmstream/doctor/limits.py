"""The kernel's limits on a process: descriptors and mappings."""

from __future__ import annotations

import resource
from pathlib import Path

from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, ok, unknown
from shmstream.doctor.plan import followers_within
from shmstream.supervisor.process_limits import mappable, session_limits

FEW_DESCRIPTORS = 4096
"""The hard limit of Linux for a process that nobody has set one for."""

_UNLIMITED = 1 << 20
"""What stands for no limit: as many descriptors as the kernel allows by default."""


def descriptors(case: Case) -> Finding:
    """Look at how many descriptors a worker and the supervisor may open."""
    settings = case.settings
    try:
        hard = hard_limit(case.running.pid if case.running else None)
    except (OSError, ValueError) as ex:
        return unknown(f'the limit on descriptors cannot be told: {ex}')
    what = (
        f'a process may open {hard} descriptors: about {followers_within(hard)}'
        ' followers in a worker'
    )
    sessions = min(session_limits(hard).values(), default=settings.max_sessions)
    if sessions < settings.max_sessions:
        what += f', and {sessions} of {settings.max_sessions} sessions'
    elif hard >= FEW_DESCRIPTORS:
        return ok(what)
    return bites(
        what,
        'raise the hard limit (systemd: LimitNOFILE=65536, a shell: ulimit -Hn,'
        ' docker run --ulimit nofile=65536)',
    )


def hard_limit(pid: int | None = None) -> int:
    """Return the hard limit on a process's descriptors, which it raises its own to.

    Args:
        pid: the process; None: this one.

    Raises:
        OSError, ValueError: the kernel does not tell.
    """
    if pid is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return _UNLIMITED if hard == resource.RLIM_INFINITY else hard
    for line in Path(f'/proc/{pid}/limits').read_text(encoding='ascii').splitlines():
        if line.startswith('Max open files'):
            text = line.split()[4]
            return _UNLIMITED if text == 'unlimited' else int(text)
    raise ValueError(f'/proc/{pid}/limits has no such line')


def mappings(case: Case) -> Finding:
    """Look at how many sessions the supervisor may map."""
    try:
        most, allowed = mappable()
    except (OSError, ValueError) as ex:
        return unknown(f'vm.max_map_count cannot be read: {ex}')
    wanted = case.settings.max_sessions
    what = f'vm.max_map_count is {allowed}: {most} sessions, {wanted} are set'
    if most < wanted:
        return bites(
            what, f'sysctl -w vm.max_map_count={wanted + wanted // 16}, or fewer'
        )
    return ok(what)
