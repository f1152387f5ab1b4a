"""Where gunicorn's control socket is: inside the runtime directory.

By default gunicorn has one control socket per user (``~/.gunicorn/gunicorn.ctl``). Each
new gunicorn of this user takes the file away from the one before, and removes the file
when it stops. So shmstream gives each deployment control sockets of its own::

    gunicorn.ctl      the socket of a master
    gunicorn-2.ctl    the socket of its successor (USR2), while the first name is taken

``gunicornc -s DIRECTORY/gunicorn.ctl`` uses the socket. If the setting
``control_socket`` has another value than gunicorn's default, that value stays.

If root has started the master and its workers run as another user, gunicorn's default
stays too. The runtime directory belongs to that user then. Root must not bind and chmod
a file there, because the user could put a link in its place.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from shmstream.memory.directory import RuntimeDirectory

_ASK_S = 1.0


def place(cfg: Any, log: Any, directory: RuntimeDirectory, succeeds: bool) -> None:
    """Have gunicorn put its control socket into the runtime directory.

    Args:
        cfg: gunicorn's configuration, before the socket is made.
        log: gunicorn's logger.
        directory: the runtime directory.
        succeeds: whether this master was started by another one.
    """
    setting = cfg.settings.get('control_socket')
    if setting is None or setting.get() != type(setting).default:
        return
    # As in gunicorn, 0 means that the workers run as the master's user.
    if cfg.uid and cfg.uid != os.geteuid():
        if not cfg.control_socket_disable:
            log.info(
                'shmstream: the control socket stays at %s, because the workers run as'
                ' another user',
                cfg.control_socket,
            )
        return
    first, second = directory.control_sockets
    taken = succeeds and _answers(first)
    cfg.set('control_socket', str(second if taken else first))


def _answers(path: Path) -> bool:
    """Whether a master listens at this path, and has not left the file behind."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_ASK_S)
        try:
            asking.connect(str(path))
        except OSError:
            return False
    return True
