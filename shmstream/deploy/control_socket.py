"""Where gunicorn's control socket is: inside the runtime directory.

gunicorn's own place for it is one file per user (``~/.gunicorn/gunicorn.ctl``), which
each new gunicorn of that user takes away from the one before it, and removes when it
stops. Ours is private to the deployment::

    gunicorn.ctl      of a master
    gunicorn-2.ctl    of its successor (USR2), while the first name is taken

``gunicornc -s DIRECTORY/gunicorn.ctl`` asks it. Whoever has set ``control_socket`` has
it where that says.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from shmstream.memory.directory import RuntimeDirectory

_ASK_S = 1.0


def place(cfg: Any, directory: RuntimeDirectory, succeeds: bool) -> None:
    """Have gunicorn put its control socket there.

    Args:
        cfg: gunicorn's configuration, before the socket is made.
        directory: the runtime directory.
        succeeds: whether this master was started by another one.
    """
    setting = cfg.settings.get('control_socket')
    if setting is None or setting.get() != type(setting).default:
        return
    first, second = directory.control_sockets
    taken = succeeds and _answers(first)
    cfg.set('control_socket', str(second if taken else first))


def _answers(path: Path) -> bool:
    """Whether somebody listens there; what a killed master has left does not."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_ASK_S)
        try:
            asking.connect(str(path))
        except OSError:
            return False
    return True
