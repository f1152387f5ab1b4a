"""A service whose limits are within reach, and what it holds is measured.

It stands beside the one that all others use, where every stream is to be served: here
two keys ask for more than there is, and everything that is beyond a bound is told::

    bytes of all segments, mapped ones   MAX_MEMORY, and what is written while it is
    without a name with them             measured
    what is put aside                    has gone when its readers have been cut, and
                                         have let go: a few seconds
    halves of uploads that are not       half of MAX_UPLOADS in each worker
    refused
    a worker's heap, since it began      MAX_UPLOADS, what is made of one that is sent
                                         on, and what the allocator keeps
    a stream of who has nothing else     is served as soon as what is put aside has gone
    the limit that a successor reports   is that of its predecessor
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from shmstream.control.request import ask
from shmstream.errors import ShmstreamError
from shmstream.memory.directory import RuntimeDirectory
from tests.chaos import wire
from tests.chaos.content import Pace, Script
from tests.chaos.holdings import heap, holdings
from tests.chaos.processes import Processes
from tests.chaos.upstream import Upstream
from tests.chaos.verdict import Verdict
from tests.support.patience import Patience
from tests.support.service import Service

MIB = 1 << 20
WORKERS = 2
MAX_MEMORY = 64 * MIB
RING = 8 * MIB
"""More than a socket's buffer, which takes what nobody reads."""

MAX_SESSIONS = 16
MAX_UPLOADS = 4 * MIB
SEND_TIMEOUT_S = 2
KEYS = ('chaos-limits-many', 'chaos-limits-few')

WRITTEN = MIB
"""By so much writers may be ahead of what is measured."""

HEAP = 48 * MIB
"""A worker's growth: 4 MiB of uploads, copies of one, libraries loaded at first use."""

WITHIN_S = 15.0
"""For whatever has to come or to go within a few seconds, on a busy machine."""

_ANSWER_S = 30.0
_LOOK_S = 0.1
_IN_A_ROW = 3
"""Looks that must see the same: the parts of one are not of one moment."""

_FLOODS = 14
_ENDLESS = 24
_UPLOADS = 12
_UPLOAD = 3 * MIB // 2
_FLOOD = Pace('flood', (0, 0), (0, 0), (32_768, 65_536), (0.0, 0.0))
_DRIP = Pace('endless', (0, 0), (0, 0), (200, 200), (0.5, 0.5))
_EVENT = b'data: ' + b'x' * 1016 + b'\n\n'
_BUFFER = 4096


class Limits:
    """The service, and those who ask too much of it, round after round.

    Args:
        seed: decides the order.
        logs: where its log goes.
        verdict: is told what is beyond a bound.
    """

    def __init__(self, seed: int, logs: Path, verdict: Verdict) -> None:
        self._verdict = verdict
        self._upstream = Upstream(seed)
        self._rng = random.Random(f'limits {seed}')
        self._log = logs / 'limits.log'
        self._service: Service | None = None
        self._processes: Processes
        self._made = 0
        self._heaps: dict[int, int] = {}
        self._told: set[int] = set()
        self._over = 0
        self._limit = 0

    async def start(self) -> None:
        """Start the service."""
        await self._upstream.start()
        self._service = Service(
            self._log,
            workers=WORKERS,
            settings={
                'UPSTREAM': self._upstream.url,
                'API_KEYS': ','.join(KEYS),
                'SESSION_BYTES': str(RING),
                'MAX_MEMORY': str(MAX_MEMORY),
                'MAX_SESSIONS': str(MAX_SESSIONS),
                'MAX_UPLOADS': str(MAX_UPLOADS),
                'SEND_TIMEOUT': str(SEND_TIMEOUT_S),
                'GC_INTERVAL': '0.5',
            },
        )
        await asyncio.to_thread(self._service.__enter__)
        self._processes = Processes(self._service, self._verdict)

    async def run(self) -> None:
        """Ask for too much, in every way, until cancelled."""
        looking = asyncio.create_task(self._look_on())
        ways = [self._hoard, self._occupy, self._upload, self._succeed]
        try:
            while True:
                self._rng.shuffle(ways)
                for way in ways:
                    await way()
                    if looking.done():
                        looking.result()
                self._verdict.notes['rounds of all limits'] += 1
        finally:
            looking.cancel()
            await asyncio.wait((looking,))

    async def stop(self) -> list[str]:
        """End it; returns what it has left behind."""
        await self._upstream.stop()
        if self._service is None:
            return []
        try:
            await asyncio.to_thread(self._service.__exit__, None, None, None)
        except AssertionError as ex:
            return [f'the service of small limits: {ex}']
        return []

    def log(self) -> str:
        """What it has printed."""
        return self._service.text() if self._service is not None else ''

    # -- what is measured --------------------------------------------------------------

    def beyond(self, text: str) -> None:
        """Something is beyond its bound."""
        self._verdict.problem('beyond', text)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            assert self._service is not None
            workers = self._processes.workers()
            pids = [*workers, *await asyncio.to_thread(self._processes.supervisors)]
            found = await asyncio.to_thread(holdings, self._service.directory, pids)
            self.judge_segments(found.segments)
            for pid in workers:
                self.judge_heap(pid, heap(pid))

    def judge_segments(self, size: int) -> None:
        """All segments were seen to hold so many bytes."""
        self._verdict.at_most('MiB of segments', size / MIB)
        self._over = self._over + 1 if size > MAX_MEMORY + WRITTEN else 0
        if self._over == _IN_A_ROW:
            self.beyond(f'segments hold {size} bytes of {MAX_MEMORY}')

    def judge_heap(self, pid: int, size: int) -> None:
        """A worker was seen to have so many bytes for itself."""
        grown = size - self._heaps.setdefault(pid, size)
        self._verdict.at_most('MiB that a worker has grown', grown / MIB)
        if grown > HEAP and pid not in self._told:
            self._told.add(pid)
            self.beyond(f'worker {pid} has grown by {grown} bytes')

    def judge_limit(self, before: int, after: int) -> None:
        """A supervisor reported this limit, and its successor that one."""
        self._limit = self._limit or before
        if after != before or after != self._limit:
            self.beyond(
                f'a successor has a limit of {after} bytes, its predecessor had '
                f'{before}, and the first {self._limit}'
            )

    async def _aside(self) -> int:
        """How many segments are mapped that are of no session."""
        assert self._service is not None
        pids = [
            *self._processes.workers(),
            *await asyncio.to_thread(self._processes.supervisors),
        ]
        found = await asyncio.to_thread(holdings, self._service.directory, pids)
        return found.aside

    # -- what is asked -----------------------------------------------------------------

    async def _ask(
        self, key: str, method: str, target: str, body: bytes = b'', **more: str
    ) -> wire.Answer | None:
        assert self._service is not None
        headers = {'Authorization': f'Bearer {key}', **more}
        try:
            return await wire.request(
                self._service.port,
                method,
                target,
                headers,
                body,
                wait_s=_ANSWER_S,
                receive_buffer=_BUFFER,
            )
        except (wire.Dropped, wire.Unanswered) as ex:
            self._verdict.problem('unexpected', f'service of small limits: {ex}')
            return None

    async def _post(
        self, key: str, pace: Pace, size: int, padding: int = 0
    ) -> tuple[Script, wire.Answer] | None:
        """Post a stream; None if it was refused, as it may be."""
        self._made += 1
        name = f'limits-{self._made}'
        data = _EVENT * (size // len(_EVENT))
        script = Script(name, name, data, 'complete', len(data), pace, 0.0)
        self._upstream.scripts[name] = script
        message = {'nonce': name, 'stream': True, 'padding': 'u' * padding}
        path, body = '/v1/chat/completions', json.dumps(message).encode()
        answer = await self._ask(key, 'POST', path, body, **{'X-Conversation-Id': name})
        if answer is not None and answer.status == 200:
            return script, answer
        script.finish('refused', 0.0)
        del self._upstream.scripts[name]
        if answer is not None:
            told = await answer.body(_ANSWER_S)
            if answer.status != 503 or 'retry-after' not in answer.headers:
                text = f'service of small limits: {answer.status} {told[:200]!r}'
                self._verdict.problem('unexpected', text)
        return None

    async def _delete(self, key: str, script: Script) -> None:
        target = f'/v1/stream/{quote(script.conv_id, safe="")}'
        answer = await self._ask(key, 'DELETE', target)
        if answer is not None:
            answer.close()
        self._upstream.scripts.pop(script.nonce, None)

    async def _few_is_served(self, why: str) -> None:
        """The key that has nothing: its stream has its room."""
        patience = Patience(_LOOK_S * 2)
        while (posted := await self._post(KEYS[1], _FLOOD, 64 * 1024)) is None:
            if patience.look() > WITHIN_S:
                self.beyond(f'a key that has nothing is refused, {why}')
                return
            await asyncio.sleep(_LOOK_S)
        script, answer = posted
        body = await answer.body(_ANSWER_S)
        if body != script.data:
            self.beyond(
                f'the stream of a key that has nothing is {len(body)} bytes of '
                f'{len(script.data)}, {why}: {body[-200:]!r}'
            )
        self._verdict.bytes_checked += len(body)
        await self._delete(KEYS[1], script)

    # -- in every way ------------------------------------------------------------------

    async def _hoard(self) -> None:
        """Post, do not read, DELETE, and keep the connection: as much as there is."""
        kept: list[wire.Answer] = []
        try:
            for _ in range(_FLOODS):
                posted = await self._post(KEYS[0], _FLOOD, RING - 65_536)
                if posted is None:
                    await asyncio.sleep(_LOOK_S)
                    continue
                script, answer = posted
                kept.append(answer)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WITHIN_S):
                        await script.over.wait()
                await self._delete(KEYS[0], script)
            await self._few_is_served('beside what is deleted and not read')
            if not await self._comes(self._nothing_aside):
                aside = await self._aside()
                self.beyond(f'{aside} readers that take nothing are not cut')
        finally:
            for answer in kept:
                answer.close()

    async def _nothing_aside(self) -> bool:
        return await self._aside() == 0

    async def _occupy(self) -> None:
        """More streams without an end than there may be sessions."""
        posts = (self._post(KEYS[0], _DRIP, MIB) for _ in range(_ENDLESS))
        made = [posted for posted in await asyncio.gather(*posts) if posted]
        await self._few_is_served(f'beside {len(made)} endless streams')
        for script, answer in made:
            answer.close()
            await self._delete(KEYS[0], script)

    async def _upload(self) -> None:
        """Halves of large requests at once, and then whole ones."""
        halves = [
            asyncio.create_task(self._half(_UPLOAD // 2)) for _ in range(_UPLOADS)
        ]
        try:
            # Whoever is refused has his answer; whoever is not waits for the rest.
            patience = Patience(_LOOK_S * 2)
            # All of one owner's, of whom there are two.
            most = WORKERS * (MAX_UPLOADS // 2) // (_UPLOAD // 2)
            while sum(not half.done() for half in halves) > most:
                if patience.look() > WITHIN_S:
                    left = sum(not half.done() for half in halves)
                    self.beyond(f'{left} halves of uploads are held, at most {most}')
                    break
                await asyncio.sleep(_LOOK_S)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.wait(halves)
        for _ in range(_UPLOADS):
            posted = await self._post(KEYS[0], _FLOOD, 16 * 1024, _UPLOAD)
            if posted is not None:
                script, answer = posted
                await answer.body(_ANSWER_S)
                await self._delete(KEYS[0], script)

    async def _half(self, size: int) -> None:
        """Send half of a request, until it is refused."""
        assert self._service is not None
        lines = [
            'POST /v1/chat/completions HTTP/1.1',
            'Host: localhost',
            f'Content-Length: {size * 2}',
            f'Authorization: Bearer {KEYS[0]}',
            'X-Conversation-Id: half',
            *('', ''),
        ]
        reader, writer = await asyncio.open_connection('127.0.0.1', self._service.port)
        try:
            writer.write('\r\n'.join(lines).encode() + b'u' * size)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b'\r\n\r\n')
        finally:
            writer.transport.abort()

    async def _succeed(self) -> None:
        """The supervisor is killed; its successor has its limit."""
        before = await self._status()
        self._processes.kill_supervisors()
        if not await self._comes(self._is_there):
            self._verdict.problem('hung', 'no successor where limits are small')
            return
        after = await self._status()
        if before is not None and after is not None:
            self.judge_limit(before, after)

    async def _is_there(self) -> bool:
        return await self._status() is not None

    async def _status(self) -> int | None:
        assert self._service is not None
        where = RuntimeDirectory(self._service.directory)
        try:
            status = await asyncio.to_thread(ask, where, 'status')
        except ShmstreamError:
            return None
        return int(status['max_memory'])

    async def _comes(self, what: Callable[[], Awaitable[bool]]) -> bool:
        """Wait until it is so; False if it is not in time."""
        patience = Patience(_LOOK_S * 2)
        while not await what():
            if patience.look() > WITHIN_S:
                return False
            await asyncio.sleep(_LOOK_S)
        return True
