"""A service that is killed with all that it is, and begins again on its directory.

A container on a volume, as a pid namespace of its own: its processes are 1, 2, 3 in
every life, and whoever takes a pid for a process is wrong. It is a small service beside
the one that all others use, so that everything it says can be judged strictly.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

from tests.chaos import content, wire
from tests.chaos.content import CAPACITY, Script, write_script
from tests.chaos.model import World
from tests.support.leaks import processes, wait_until
from tests.support.service import Service

_WORKERS = 2
_APART = ('unshare', '--pid', '--fork', '--mount-proc', '--kill-child')
_ANSWER_S = 30.0


class Lives:
    """One such service, from the first time that it is asked for.

    Args:
        world: what everybody shares.
        logs: where its log goes.
        rng: decides what it streams.
    """

    def __init__(self, world: World, logs: Path, rng: random.Random) -> None:
        self._world = world
        self._log = logs / 'lives.log'
        self._rng = rng
        self._service: Service | None = None
        self._lock = asyncio.Lock()
        self._life = 0
        self._printed: list[str] = []

    @staticmethod
    def possible() -> bool:
        """Whether namespaces can be made here."""
        return os.geteuid() == 0 and shutil.which('unshare') is not None

    async def one_more(self) -> None:
        """Stream, be killed in the middle of it, begin again, and look what is left."""
        async with self._lock:
            if self._service is None:
                self._service = self._make()
                await asyncio.to_thread(self._service.__enter__)
            service = self._service
            self._life += 1
            whole = await self._post('trickle', f'whole {self._life}')
            cut = await self._post('drip', f'cut {self._life}')
            if whole is None or cut is None:
                return
            await self._read_whole(whole)
            if not await asyncio.to_thread(self._kill, service):
                return
            cut[0].finish('hung up', self._world.now())
            self._printed.append(service.text())
            await asyncio.to_thread(service.__enter__)
            await self._read_again(whole)
            await self._read_cut(cut)
            self._world.verdict.notes['lives of a service in a namespace'] += 1

    def stop(self) -> list[str]:
        """End it in good order; returns what it has left behind."""
        service = self._service
        if service is None:
            return []
        for pid in _children(service.master):
            os.kill(pid, signal.SIGTERM)
        try:
            service.wait()
        except subprocess.TimeoutExpired:
            service.signal(signal.SIGKILL)
            return ['a service in a namespace that does not stop']
        wait_until(lambda: not service.guard.left())
        return service.guard.left()

    def log(self) -> str:
        """What all of them have printed."""
        last = self._service.text() if self._service is not None else ''
        return '\n'.join((*self._printed, last))

    def _make(self) -> Service:
        with socket.socket() as found:
            found.bind(('127.0.0.1', 0))
            bind = f'127.0.0.1:{found.getsockname()[1]}'
        return Service(
            self._log,
            workers=_WORKERS,
            settings={
                'UPSTREAM': self._world.upstream.url,
                'SESSION_BYTES': str(CAPACITY),
                'MAX_MEMORY': '64MiB',
            },
            bind=bind,
            prefix=_APART,
        )

    def _kill(self, service: Service) -> bool:
        service.guard.note()
        service.signal(signal.SIGKILL)
        service.wait()
        directory = str(service.directory)
        gone = wait_until(lambda: not processes(directory), 30)
        if not gone:
            self._bad('hung', f'it outlives its namespace: {processes(directory)}')
        return gone

    # -- what it is asked -------------------------------------------------------------

    def _bad(self, kind: str, text: str) -> None:
        self._world.verdict.problem(kind, f'life {self._life}: {text}')

    async def _ask(
        self, method: str, path: str, body: bytes = b'', **headers: str
    ) -> wire.Answer | None:
        assert self._service is not None
        named = {name.replace('_', '-'): value for name, value in headers.items()}
        try:
            return await wire.request(
                self._service.port, method, path, named, body, wait_s=_ANSWER_S
            )
        except (wire.Dropped, wire.Unanswered) as ex:
            self._bad('unexpected', f'no answer: {ex}')
            return None

    async def _post(self, pace: str, name: str) -> tuple[Script, wire.Answer] | None:
        script = write_script(self._rng, name, pace, 'complete')
        script.prefill_s = 0.0
        script.posted_at = self._world.now()
        self._world.upstream.scripts[script.nonce] = script
        body = json.dumps({'nonce': script.nonce, 'stream': True}).encode()
        path = '/v1/chat/completions'
        answer = await self._ask('POST', path, body, X_Conversation_Id=name)
        if answer is None:
            return None
        if answer.status != 200:
            told = await answer.body(_ANSWER_S)
            self._bad('unexpected', f'POST: {answer.status} {told[:200]!r}')
            return None
        return script, answer

    async def _read_whole(self, of: tuple[Script, wire.Answer]) -> None:
        script, answer = of
        self._check(script, await answer.body(_ANSWER_S), script.data)

    async def _read_again(self, of: tuple[Script, wire.Answer]) -> None:
        """What had ended before is there to be read, for as long as it always was."""
        script, _ = of
        answer = await self._ask('GET', f'/v1/stream/{quote(script.conv_id, safe="")}')
        if answer is None:
            return
        told = (answer.status, answer.headers.get('stream-state'))
        body = await answer.body(_ANSWER_S)
        if told != (200, 'complete'):
            self._bad('lost', f'what had ended is {told} in the next life')
        else:
            self._check(script, body, script.data)

    async def _read_cut(self, of: tuple[Script, wire.Answer]) -> None:
        """What was live ends in-band, after the bytes that its client had been sent."""
        script, answer = of
        seen = b''
        while data := await answer.read(_ANSWER_S):
            seen += data
        answer.close()
        if script.data[: len(seen)] != seen:
            self._bad('torn', f'{seen[-100:]!r} was sent before the end')
        after = await self._ask('GET', f'/v1/stream/{quote(script.conv_id, safe="")}')
        if after is None:
            return
        body = await after.body(_ANSWER_S)
        if after.status != 200 or not after.whole:
            self._bad('lost', f'what was live: {after.status}, whole: {after.whole}')
            return
        ends = [
            tail
            for tail in content.error_tails(script, 0, body)
            if tail.end == len(body) and tail.message == content.DIED
        ]
        if not ends or ends[0].start < len(seen):
            self._bad('lost', f'{len(seen)} bytes were sent; now {body[-200:]!r}')

    def _check(self, script: Script, body: bytes, truth: bytes) -> None:
        self._world.verdict.bytes_checked += len(body)
        if body != truth:
            kind, text = content.diagnose(script, 0, body)
            kind = 'lost' if truth.startswith(body) else kind
            self._bad(kind, f'{len(body)} bytes instead of {len(truth)}: {text}')


def _children(pid: int) -> list[int]:
    return [
        int(each)
        for each in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    ]
