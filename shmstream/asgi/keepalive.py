"""TCP keep-alive: by it the kernel finds out that a quiet peer has vanished."""

from __future__ import annotations

import logging
import socket
from typing import Any

log = logging.getLogger('shmstream.asgi')

_PROBES = 3
"""Keep-alive probes without an answer after which the kernel closes a connection."""


def probe(sock: Any, within_s: float) -> None:
    """Have the kernel probe whether a quiet peer is still there."""
    idle_s = max(1, round(within_s / 2))
    every_s = max(1, round(within_s / 2 / _PROBES))
    if sock is None or sock.family == socket.AF_UNIX:
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except (OSError, ValueError) as ex:
        # The connection has closed, so there is no peer to probe.
        log.debug('no keep-alive: %s', ex)
