"""The service with routes that block the event loop, as a bad application may."""

from __future__ import annotations

import fcntl
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.asgi
import posix_ipc

from shmstream.http.app import create_app

S = 60.0
"""Longer than any test waits."""


def _wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=S)


def _wait_for_a_queue() -> None:
    queue.Queue[None]().get(timeout=S)


def _wait_for_a_bell() -> None:
    name = f'/shmstream-test-blocking-{os.getpid()}'
    bell = posix_ipc.Semaphore(name, posix_ipc.O_CREX)
    bell.unlink()
    try:
        bell.acquire(S)
    finally:
        bell.close()


def _wait_for_a_peer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(S)
        ours.recv(1)


def _wait_for_a_file_lock() -> None:
    with Path('/dev/null').open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)


WAYS: dict[str, Callable[[], object]] = {
    'time.sleep': lambda: time.sleep(S),
    'lock.acquire': _wait_for_a_lock,
    'lock.acquire of a queue': _wait_for_a_queue,
    'posix_ipc.Semaphore.acquire': _wait_for_a_bell,
    'socket.socket.recv': _wait_for_a_peer,
    'builtins.open': lambda: open('/dev/null').close(),
    'subprocess.Popen.__init__': lambda: subprocess.run(['sleep', str(S)], check=False),
    'socket.getaddrinfo': lambda: socket.getaddrinfo('localhost', 80),
}
"""By what they are found as; the first word names the call."""


class Block:
    async def on_get(self, req: falcon.asgi.Request, _: falcon.asgi.Response) -> None:
        WAYS[req.get_param('how') or 'time.sleep']()


def app() -> Any:
    blocking = create_app()
    blocking.falcon.add_route('/block', Block())
    return blocking
