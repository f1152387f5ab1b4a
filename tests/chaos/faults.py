"""The fault injector: what goes wrong, and when, all from one seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from tests.chaos.client import Client
from tests.chaos.model import TTL_S, Chat, World
from tests.chaos.owner import Owner
from tests.chaos.promises import SUPERVISORS
from tests.support.service import Service

_HUP_APART_S = 8.0
_STOP_S = (0.2, 1.5)
_HANG_S = (5.5, 7.0)
_HANGS = 0.3
"""Of the times that a supervisor is stopped, it is for so long."""

_T = TypeVar('_T')


class Injector:
    """Injects faults until it is cancelled.

    Args:
        world: what everybody shares.
        service: the service.
        seed: decides all.
        clients: everybody that may be disconnected.
    """

    def __init__(
        self, world: World, service: Service, seed: int, clients: list[Client]
    ) -> None:
        self._world = world
        self._service = service
        self._rng = random.Random(f'faults {seed}')
        self._clients = clients
        self._workers = service.workers
        self._hup_at = -_HUP_APART_S
        self._bursts = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (4, self.kill_worker),
            (1, self.kill_all_workers),
            (3, self.kill_supervisor),
            (1, self.kill_both),
            (2, self.hup),
            (2, self.scale),
            (4, self.stop_worker),
            (1, self.stop_supervisor),
            (2, self.fill),
            (3, self.disconnect),
            (3, self.slow_readers),
            (2, self.burst),
        ]

    async def run(self) -> None:
        """One after the other, a few hundred ms to some seconds apart."""
        weights = [weight for weight, _ in self._kinds]
        while True:
            await asyncio.sleep(self._rng.choice((0.3, 0.6, 1.0, 1.5, 2.5)))
            _, fault = self._rng.choices(self._kinds, weights)[0]
            await fault()

    async def kill_worker(self) -> None:
        """SIGKILL one worker; another one takes its place."""
        workers = self._world.processes.workers()
        if workers:
            pid = self._rng.choice(workers)
            self._world.verdict.fault('kill worker', str(pid))
            self._world.processes.kill_worker(pid)

    async def kill_all_workers(self) -> None:
        """SIGKILL all workers at once."""
        workers = self._world.processes.workers()
        self._world.verdict.fault('kill all workers', str(workers))
        for pid in workers:
            self._world.processes.kill_worker(pid)

    async def kill_supervisor(self) -> None:
        """SIGKILL the supervisor; a worker has to notice."""
        processes = self._world.processes
        for pid in processes.kill_supervisors():
            self._world.verdict.fault('kill supervisor', str(pid))

    async def kill_both(self) -> None:
        """SIGKILL the supervisor, and then the worker that has not noticed yet."""
        await self.kill_supervisor()
        await asyncio.sleep(self._rng.choice((0.0, 0.05, 0.3)))
        await self.kill_worker()

    async def hup(self) -> None:
        """Reload: all workers leave, others take their place."""
        now = self._world.now()
        if now - self._hup_at < _HUP_APART_S:
            return
        self._hup_at = now
        self._tell_to_leave('HUP', signal.SIGHUP)
        # A reload goes back to the configured number.
        self._workers = self._service.workers

    async def scale(self) -> None:
        """One worker more, or the oldest one less."""
        if self._workers < self._service.workers + 2 and self._rng.random() < 0.5:
            self._workers += 1
            self._world.verdict.fault('TTIN')
            self._service.signal(signal.SIGTTIN)
        elif self._workers > 2:
            self._workers -= 1
            self._tell_to_leave('TTOU', signal.SIGTTOU)

    def _tell_to_leave(self, name: str, number: signal.Signals) -> None:
        self._world.verdict.fault(name, str(self._world.processes.workers()))
        self._world.processes.told_to_leave.append(self._world.now())
        self._service.signal(number)

    async def stop_worker(self) -> None:
        """SIGSTOP one worker for a while."""
        workers = self._world.processes.workers()
        if workers:
            seconds = self._rng.uniform(*_STOP_S)
            self._freeze('SIGSTOP worker', self._rng.choice(workers), seconds)

    async def stop_supervisor(self) -> None:
        """SIGSTOP the supervisor for a while, or for longer than requests wait."""
        world, long = self._world, self._rng.random() < _HANGS
        seconds = self._rng.uniform(*(_HANG_S if long else _STOP_S))
        for pid in world.processes.supervisors():
            self._freeze('SIGSTOP supervisor', pid, seconds)
            if long:
                world.processes.supervisors_stopped.append(world.now() + seconds)

    def _freeze(self, kind: str, pid: int, seconds: float) -> None:
        name = SUPERVISORS if 'supervisor' in kind else pid
        self._world.verdict.fault(kind, f'{pid} {seconds:.1f} s')
        self._spawn(self._world.processes.stop_for(pid, seconds, name))

    async def fill(self) -> None:
        """Several conversations are flooded beyond their ring."""
        self._world.verdict.fault('fill rings')
        for chat in self._some(self._world.chats, 0.3):
            chat.wish = self._rng.choice(('flood', 'river'))

    async def disconnect(self) -> None:
        """Half of all clients lose the network."""
        self._world.verdict.fault('mass disconnect')
        for client in self._some(self._clients, 0.5):
            if client.follow is not None:
                client.follow.drop()

    async def slow_readers(self) -> None:
        """A fifth of all clients stop reading for seconds."""
        self._world.verdict.fault('slow readers')
        for client in self._some(self._clients, 0.2):
            if client.follow is not None:
                client.follow.stall(self._rng.uniform(1.0, 5.0))

    async def burst(self) -> None:
        """More generations than there is room for."""
        world = self._world
        self._bursts += 1
        world.verdict.fault('creation burst')
        world.crowded_until = world.now() + 20 + TTL_S
        for i in range(self._rng.randint(world.max_sessions // 2, world.max_sessions)):
            chat = Chat(f'burst-{self._bursts}/{i}', wish='trickle')
            rng = random.Random(self._rng.random())
            self._spawn(Owner(world, chat, rng).once(rng.uniform(0.4, 1.0), 'complete'))

    def _some(self, items: Iterable[_T], share: float) -> list[_T]:
        return [item for item in items if self._rng.random() < share]

    def _spawn(self, what: Awaitable[None]) -> None:
        async def run() -> None:
            await what

        task = asyncio.create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
