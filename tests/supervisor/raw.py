"""The control socket, byte by byte."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from shmstream.control.wire import FrameReader
from tests.supervisor.conftest import status

Supervisor = tuple[Path, int]


def connected(supervisor: Supervisor) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    # Without a time-out yet: with one, a full queue is an error at once.
    sock.connect(str(supervisor[0] / 'supervisor.sock'))
    sock.settimeout(10)
    return sock


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, 'big') + body


def reply(sock: socket.socket) -> Any:
    """The next reply; None if the connection was dropped."""
    frames = FrameReader(1 << 20)
    while True:
        try:
            data = sock.recv(1 << 16)
        except ConnectionError:
            return None
        if not data:
            return None
        messages = frames.feed(data)
        if messages:
            return messages[0]


def sent(supervisor: Supervisor, data: bytes) -> Any:
    """Send bytes and nothing more; return the reply, None if there is none."""
    with connected(supervisor) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except ConnectionError:
            return None
        return reply(sock)


def alive(supervisor: Supervisor) -> bool:
    found = status(supervisor[0])
    return found is not None and found['pid'] == supervisor[1]
