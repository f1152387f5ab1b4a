"""The deployment that runs in a runtime directory, found without disturbing it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from shmstream.control.request import ask
from shmstream.errors import ShmstreamError
from shmstream.memory.directory import RuntimeDirectory

ASK_S = 2.0
"""Seconds that the supervisor may take to answer."""

_LISTENS = '0A'


@dataclass(frozen=True)
class Running:
    """A deployment that runs.

    Attributes:
        pid: its supervisor.
        user: the user of its supervisor and workers.
        status: what the supervisor tells of itself.
        masters: the processes that it works for.
    """

    pid: int
    user: int
    status: dict[str, Any]
    masters: tuple[int, ...]

    @property
    def environ(self) -> dict[str, str] | None:
        """The environment that its first master was started with; None: not to see."""
        try:
            raw = Path(f'/proc/{self.masters[0]}/environ').read_bytes()
        except (OSError, IndexError):
            return None
        pairs = (entry.partition(b'=') for entry in raw.split(b'\0') if entry)
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}

    @property
    def listens_at(self) -> tuple[str, ...] | None:
        """The TCP addresses at which its masters listen; None: not to see."""
        found: list[str] = []
        try:
            for master in self.masters:
                found += listening(master)
        except OSError:
            return None
        return tuple(sorted(set(found)))


def find(directory: RuntimeDirectory) -> Running | None:
    """Return the deployment of this directory; None if none answers as ours do.

    Blocks for ``ASK_S`` at the most. The directory may be another user's, who may have
    anything answer there.
    """
    try:
        status = ask(directory, 'status', reply_s=ASK_S)
        user = os.stat(directory.path).st_uid
        masters = tuple(map(int, status['masters']))
        numbers = {name: int(status[name]) for name in ('pid', 'max_memory', 'memory')}
    except (ShmstreamError, OSError, KeyError, TypeError, ValueError):
        return None
    return Running(numbers['pid'], user, status | numbers, masters)


def listening(pid: int) -> list[str]:
    """Return the TCP addresses at which a process listens, as ``HOST:PORT``.

    Raises:
        OSError: the process has gone, or is another user's.
    """
    sockets = set()
    with os.scandir(f'/proc/{pid}/fd') as entries:
        for entry in entries:
            try:
                target = os.readlink(entry.path)
            except FileNotFoundError:
                continue
            if target.startswith('socket:['):
                sockets.add(target[len('socket:[') : -1])
    found = []
    for name in ('tcp', 'tcp6'):
        try:
            lines = Path(f'/proc/{pid}/net/{name}').read_text(encoding='ascii')
        except FileNotFoundError:
            continue
        for line in lines.splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENS and words[9] in sockets:
                found.append(_address(words[1]))
    return found


def _address(text: str) -> str:
    """Return an address of ``/proc/net/tcp`` (words in the machine's own order)."""
    host, _, port = text.partition(':')
    raw = b''.join(
        bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)
    )
    if len(raw) == 4:
        return f'{IPv4Address(raw)}:{int(port, 16)}'
    address = IPv6Address(raw)
    return f'[{address.ipv4_mapped or address}]:{int(port, 16)}'
