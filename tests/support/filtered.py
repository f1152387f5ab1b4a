"""Run a command with the system calls that a systemd unit allows, and no others.

``python -m tests.support.filtered COMMAND ...``, with their names in ``$CALLS``. Any
other call fails with EPERM, as the unit says. A filter outlasts forks and ``exec``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys

CALLS = 'CALLS'

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def allowed(groups: list[str]) -> list[str]:
    """Return the calls in these groups, as systemd knows them."""
    told = subprocess.run(
        ['systemd-analyze', '--no-pager', 'syscall-filter'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sets: dict[str, list[str]] = {}
    for block in re.split(r'\n(?=@)', told):
        name, *members = (line.strip() for line in block.splitlines() if line.strip())
        sets[name] = [member for member in members if not member.startswith('#')]
    found: set[str] = set()
    # What systemd itself needs to start a program is always allowed.
    todo = ['@default', *groups]
    while todo:
        each = todo.pop()
        if each.startswith('@'):
            todo += sets[each]
        else:
            found.add(each)
    return sorted(found)


def main() -> None:
    """Become the command."""
    library = ctypes.CDLL('libseccomp.so.2')
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add.argtypes = (
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
    )
    library.seccomp_load.argtypes = (ctypes.c_void_p,)
    context = library.seccomp_init(_ERRNO | errno.EPERM)
    for name in os.environ.pop(CALLS).split(','):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert library.seccomp_rule_add(context, _ALLOW, number, 0) == 0, name
    assert library.seccomp_load(context) == 0
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == '__main__':
    main()
