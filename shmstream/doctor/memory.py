"""Is there the memory that sessions may take? Of the file system, and of this group.

The pages of a file on tmpfs are memory, and count for the control group of the process
that writes them first. So two limits hold: the size of the file system, and what the
kernel allows the group, which it enforces by killing a process.
"""

from __future__ import annotations

import os
from pathlib import Path

from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, note, ok, unknown
from shmstream.doctor.plan import BASE_BYTES, WORKER_BYTES
from shmstream.memory.directory import default_directory
from shmstream.sizes import size

FEW_RINGS = 8
"""With fewer full rings than this, replays of some conversations are gone in minutes.
Docker's own 64 MiB of ``/dev/shm`` hold 7 rings of 4 MiB, because shmstream takes half
of what is free."""

_HEADER = 4096
"""Bytes of a segment beside its ring."""

_NETWORK = ('nfs', 'nfs4', 'cifs', 'smb3', '9p', 'ceph', 'glusterfs')
_IN_MEMORY = ('tmpfs', 'ramfs', 'hugetlbfs')
_GROUPS = Path('/sys/fs/cgroup')


def room(case: Case) -> Finding:
    """Compare the limit of all sessions with what the file system has."""
    settings = case.settings
    try:
        limit, free = case.limit, case.free
        most = os.statvfs(case.place)
    except OSError as ex:
        return unknown(f'{case.place} cannot be looked at: {ex.strerror}')
    ring = settings.session_bytes + _HEADER
    what = (
        f'{case.place} has {size(most.f_blocks * most.f_frsize)},'
        f' {size(free)} of it for sessions, which may take {size(limit)}:'
        f' {limit // ring} full rings of {size(settings.session_bytes)}'
    )
    if limit > free:
        return bites(what, 'lower SHMSTREAM_MAX_MEMORY, or make the file system larger')
    if limit // ring < FEW_RINGS:
        return bites(
            what,
            'make the file system larger (docker run --shm-size=1g), set SHMSTREAM_DIR'
            ' to a larger one, or lower SHMSTREAM_SESSION_BYTES',
        )
    return ok(what)


def file_system(case: Case) -> Finding:
    """Look at the kind of the file system: shared mappings do not cross a network."""
    place = case.place
    try:
        kind, options = mounted(place)
    except (OSError, ValueError) as ex:
        return unknown(f'the file system of {place} cannot be told: {ex}')
    what = f'{place} is on {kind}'
    if kind in _NETWORK or kind.startswith('fuse'):
        return bites(
            f'{what}, over which processes do not share memory',
            f'set SHMSTREAM_DIR to a local file system, such as {default_directory()}',
        )
    if 'ro' in options:
        return bites(f'{what}, which is read-only', 'set SHMSTREAM_DIR to another')
    if kind not in _IN_MEMORY:
        return note(
            f'{what}: ended streams survive a reboot, and the disk writes every byte',
            'unless that is meant, leave SHMSTREAM_DIR unset',
        )
    return ok(f'{what}, in memory')


def mounted(place: Path) -> tuple[str, list[str]]:
    """Return the kind of a path's file system, and its options.

    Raises:
        OSError, ValueError: the kernel does not tell.
    """
    resolved = place.resolve()
    best, found = -1, ('', [''])
    for line in Path('/proc/self/mountinfo').read_text(encoding='utf-8').splitlines():
        before, _, after = line.partition(' - ')
        fields = before.split()
        point = Path(fields[4].encode().decode('unicode_escape'))
        # The last of several mounts at one place is the one to be seen.
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best = len(point.parts)
            found = after.split()[0], fields[5].split(',')
    if best < 0:
        raise ValueError('it is on no mount that this process sees')
    return found


def group(case: Case) -> Finding:
    """Compare what sessions and workers may take with the limits on memory."""
    pid = case.running.masters[0] if case.running and case.running.masters else None
    try:
        in_memory = mounted(case.place)[0] in _IN_MEMORY
        sessions = case.limit if in_memory else 0
        limit, whose = memory_limit(pid)
    except (OSError, ValueError) as ex:
        return unknown(f'the limit on memory cannot be told: {ex}')
    server = case.told
    workers = 2 if isinstance(server, str) else server.workers
    own = BASE_BYTES + workers * WORKER_BYTES
    rings = f'sessions may take {size(sessions)}, and ' if in_memory else ''
    what = (
        f'{rings}the processes of {workers} workers take about {size(own)};'
        f' {whose} allows {size(limit)}'
    )
    if sessions + own > limit:
        return bites(
            f'{what}: the kernel would kill a process',
            'lower SHMSTREAM_MAX_MEMORY, or raise that limit',
        )
    return ok(what)


def memory_limit(pid: int | None = None) -> tuple[int, str]:
    """Return the lowest limit on a process's memory in bytes, and whose it is.

    Args:
        pid: the process; None: this one.

    Raises:
        OSError, ValueError: the kernel does not tell.
    """
    found = _machine(), 'this machine'
    path = Path(f'/proc/{pid or "self"}/cgroup').read_text(encoding='utf-8')
    for line in path.splitlines():
        number, controllers, name = line.split(':', 2)
        if number == '0' and not controllers:
            folder, file = _GROUPS, 'memory.max'
        elif 'memory' in controllers.split(','):
            folder, file = _GROUPS / 'memory', 'memory.limit_in_bytes'
        else:
            continue
        group = folder / name.lstrip('/')
        # A limit of a group holds for all groups below it. In a container the name may
        # be that of the host, where this process does not see it: then the root is it.
        for each in (group, *group.parents):
            if not each.is_relative_to(folder):
                break
            try:
                text = (each / file).read_text(encoding='ascii').strip()
            except OSError:
                continue
            if text != 'max' and int(text) < found[0]:
                found = int(text), f'the control group ({each / file})'
    return found


def _machine() -> int:
    told = Path('/proc/meminfo').read_text(encoding='ascii').splitlines()
    fields = dict(line.split(':', 1) for line in told)
    return sum(int(fields[name].split()[0]) << 10 for name in ('MemTotal', 'SwapTotal'))
