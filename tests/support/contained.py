"""Run a command as a container or a hardened unit would, in a mount namespace.

``unshare -m python -m tests.support.contained USER SHM KEPT ... -- COMMAND ...``: the
root is read-only but for the places that are kept, ``/dev/shm`` has so many bytes,
``/tmp`` is private, and the command runs as the user, without any
capability, without new privileges, and without memory that is writable and executable.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from tests.support.reachable import mount

ROOT = Path(__file__).parents[2]
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1


def main() -> None:
    """Become the command."""
    end = sys.argv.index('--')
    user, shm, *kept = sys.argv[1:end]
    for place in kept:
        mount('--bind', place, place)
    for point in _mounts():
        if point not in kept and not point.startswith(('/proc', '/sys', '/dev')):
            mount('-o', 'remount,bind,ro', point)
    mount('-t', 'tmpfs', '-o', f'size={shm},mode=1777', 'tmpfs', '/dev/shm')
    _hide_tmp()
    os.umask(0o077)
    # Older kernels do not know it.
    ctypes.CDLL(None).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)
    lowered = ['setpriv', '--reuid', user, '--regid', user, '--clear-groups']
    lowered += ['--no-new-privs', '--bounding-set', '-all', '--inh-caps', '-all']
    os.execvp('setpriv', [*lowered, *sys.argv[end + 1 :]])


def _hide_tmp() -> None:
    """Give it a private ``/tmp``, in which this clone still is if it was there."""
    here = [
        place for place in (ROOT, Path(sys.prefix)) if Path('/tmp') in place.parents
    ]
    opened = [(place, os.open(place, os.O_PATH)) for place in here]
    mount('-t', 'tmpfs', '-o', 'size=16m,mode=1777', 'tmpfs', '/tmp')
    for place, fd in opened:
        place.mkdir(parents=True, exist_ok=True)
        # The path that the link has would lead to what is hidden now.
        mount('--no-canonicalize', '--bind', f'/proc/{os.getpid()}/fd/{fd}', str(place))


def _mounts() -> list[str]:
    lines = Path('/proc/self/mountinfo').read_text(encoding='utf-8').splitlines()
    points = [line.split()[4].encode().decode('unicode_escape') for line in lines]
    return sorted({'/', *points})


if __name__ == '__main__':
    main()
