"""A server of an application whose sources a test steers (``scripted``)."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.producing.scripted import Gate, whole
from tests.support.client import Client, Live
from tests.support.service import ROOT

CONFIG = ROOT / 'examples' / 'gunicorn.conf.py'
BEFORE, AFTER = 3, 4
"""Events before and after the gate of a source."""
FIRST, WHOLE = whole(BEFORE), whole(BEFORE + AFTER)

WAIT_S = 30.0
"""How long a worker that serves is looked for."""


def read_whole(
    client: Client,
    address: Callable[[int], str],
    offset: int = 0,
    wait_s: float = WAIT_S,
) -> bytes:
    """Read to the end as a client that resumes does, at whichever worker.

    Args:
        client: a client of the server.
        address: returns the address of the stream from an offset on.
        offset: where to begin.
        wait_s: how long that may take.
    """
    deadline = time.monotonic() + wait_s
    data = b''
    while True:
        # Nobody may listen for a moment.
        with (
            contextlib.suppress(OSError),
            client.open('GET', address(offset + len(data))) as live,
        ):
            if live.status == 200:
                data += live.rest()
                if live.whole:
                    return data
        assert time.monotonic() < deadline


@dataclass
class Deployment:
    """A server of two workers, and the folder by which sources are steered.

    Attributes:
        kind: which server or worker.
        server: a ``Service``, or another server.
        folder: where the files of the sources are.
        path: the path of the answers.
    """

    kind: str
    server: Any
    folder: Path
    path: str = 'chats'

    @property
    def client(self) -> Client:
        """A client of it."""
        client: Client = self.server.client()
        return client

    def asked(self, chat: str) -> dict[str, Any]:
        """What a POST asks for."""
        return {'name': chat, 'before': BEFORE, 'after': AFTER}

    def address(self, chat: str, offset: int | None = None) -> str:
        """Where an answer is read."""
        query = '' if offset is None else f'?from={offset}'
        return f'/{self.path}/{chat}{query}'

    def post(self, target: str, chat: str, **headers: str) -> Live:
        """POST."""
        headers['Content-Type'] = 'application/json'
        body = json.dumps(self.asked(chat)).encode()
        return self.client.open('POST', target, body, headers)

    def begin(self, chat: str, target: str = '', **headers: str) -> Live:
        """POST; returns once the source waits at its gate."""
        live = self.post(target or self.address(chat), chat, **headers)
        live.until(len(FIRST))
        return live

    def gate(self, chat: str) -> Gate:
        """What holds the source back."""
        return Gate(self.folder, chat)

    def told(self) -> bool:
        """Whether the worker of a production has been told to leave."""
        return 'leaving: 1 productions go on' in self.server.text()

    def newer_than(self, workers: list[int]) -> int:
        """The number of workers that are none of these."""
        return len(set(self.server.worker_pids()) - set(workers))

    def follow(self, chat: str, offset: int = 0) -> Live:
        """Follow an answer, at whichever worker."""
        deadline = time.monotonic() + WAIT_S
        while True:
            live = self.client.open('GET', self.address(chat, offset))
            if live.status == 200:
                return live
            # As many readers as it may have: those of attempts before leave by and by.
            assert live.status == 503
            live.close()
            assert time.monotonic() < deadline

    def elsewhere(self, chat: str, worker: int) -> Live:
        """Follow an answer from another worker than this one."""
        deadline = time.monotonic() + WAIT_S
        while True:
            live = self.follow(chat)
            if live.worker != worker:
                return live
            live.close()
            assert time.monotonic() < deadline

    def read(self, chat: str, offset: int = 0) -> bytes:
        """Read to the end as a client that resumes does, at whichever worker."""
        return read_whole(self.client, lambda at: self.address(chat, at), offset)
