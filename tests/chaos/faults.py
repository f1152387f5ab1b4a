"""The fault injector: what goes wrong, and when, all from one seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from tests.chaos.careless import Careless
from tests.chaos.client import Client
from tests.chaos.lives import Lives
from tests.chaos.model import TTL_S, Chat, World
from tests.chaos.owner import Owner
from tests.chaos.promises import SUPERVISORS
from tests.chaos.strangers import Stranger
from tests.chaos.uploads import Uploader
from tests.chaos.wall import Wall
from tests.support.service import Service

_HUP_APART_S = 8.0
_STOP_S = (0.2, 1.5)
_HANG_S = (5.5, 7.0)
_HANGS = 0.3
"""Of the times that a supervisor is stopped, it is for so long."""

_LIFE_S = 20 + TTL_S
"""How long what is posted takes a place, at the most: its generation and its TTL."""

WEIGHTS = {
    'kill-worker': 4,
    'kill-all-workers': 1,
    'kill-supervisor': 3,
    'kill-both': 2,
    'hup': 2,
    'scale': 2,
    'stop-worker': 4,
    'stop-supervisor': 2,
    'fill': 2,
    'disconnect': 3,
    'slow-readers': 3,
    'burst': 2,
    'uploads': 2,
    'careless': 2,
    'set-clock': 2,
    'strangers': 2,
    'lives': 1,
}
"""How often each comes; the methods of ``Injector`` that have these names."""

_T = TypeVar('_T')


class Injector:
    """Injects faults until it is cancelled.

    Args:
        world: what everybody shares.
        service: the service.
        seed: decides all.
        clients: everybody that may be disconnected.
        chosen: the kinds that it may inject, of ``WEIGHTS``.
        wall: the service's wall clock; None if it cannot be set.
        lives: a service that is killed with all that it is.
    """

    def __init__(
        self,
        world: World,
        service: Service,
        seed: int,
        clients: list[Client],
        chosen: Iterable[str],
        wall: Wall | None,
        lives: Lives,
    ) -> None:
        self._world = world
        self._service = service
        self._rng = random.Random(f'faults {seed}')
        self._clients = clients
        self._workers = service.workers
        self._hup_at = -_HUP_APART_S
        self._bursts = 0
        self._made = 0
        self._fresh_at: list[float] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._wall = wall
        self._lives = lives
        self._chosen = list(chosen)

    async def run(self) -> None:
        """One after the other, a few hundred ms to some seconds apart."""
        weights = [WEIGHTS[name] for name in self._chosen]
        while self._chosen:
            await asyncio.sleep(self._rng.choice((0.3, 0.6, 1.0, 1.5, 2.5)))
            name = self._rng.choices(self._chosen, weights)[0]
            fault: Callable[[], Awaitable[None]] = getattr(self, name.replace('-', '_'))
            await fault()

    async def kill_worker(self) -> None:
        """SIGKILL one worker; another one takes its place."""
        workers = self._world.processes.workers()
        pid = self._rng.choice(workers) if workers else 0
        if set(self._world.processes.serving()) - {pid}:
            self._world.verdict.fault('kill worker', str(pid))
            self._world.processes.kill_worker(pid)

    async def kill_all_workers(self) -> None:
        """SIGKILL all workers at once."""
        workers = self._world.processes.workers()
        if not self._world.processes.serving():
            return
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
        if now - self._hup_at < _HUP_APART_S or not self._world.processes.serving():
            return
        self._hup_at = now
        self._world.processes.leaving.update(self._world.processes.workers())
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
            self._world.processes.leaving.update(self._world.processes.workers()[:1])
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
        world.crowded_until = world.now() + _LIFE_S
        for i in range(self._rng.randint(world.max_sessions // 2, world.max_sessions)):
            key = self._rng.choice(world.chats).key
            chat = Chat(f'burst-{self._bursts}/{i}', wish='trickle', key=key)
            rng = random.Random(self._rng.random())
            self._spawn(Owner(world, chat, rng).once(rng.uniform(0.4, 1.0), 'complete'))

    async def uploads(self) -> None:
        """Some large requests, half of them such as break off in the middle."""
        world = self._world
        world.verdict.fault('uploads')
        for i in range(6):
            rng = random.Random(self._rng.random())
            uploader = Uploader(world, rng.choice(world.chats), rng)
            if i % 2:
                self._spawn(uploader.cut())
            else:
                self._spawn(Uploader(world, self._fresh('upload'), rng).once(0.5))

    async def careless(self) -> None:
        """Some clients stop what they have not read, and go on not reading."""
        self._world.verdict.fault('careless clients')
        for _ in range(5):
            rng = random.Random(self._rng.random())
            self._spawn(Careless(self._world, self._fresh('careless'), rng).leave_it())

    async def set_clock(self) -> None:
        """The service's wall clock is set, by up to a day."""
        if self._wall is not None:
            ahead_s = self._wall.step(self._rng)
            self._world.verdict.fault('wall clock set', f'{ahead_s} s ahead')

    async def strangers(self) -> None:
        """Other keys ask for a stream by its exact name."""
        self._world.verdict.fault('strangers')
        for chat in self._some(self._world.chats, 0.3):
            rng = random.Random(self._rng.random())
            self._spawn(Stranger(self._world, chat, rng).pry())

    async def lives(self) -> None:
        """A service beside this one is killed with its namespace, and begins again."""
        if self._lives.possible():
            self._world.verdict.fault('hard restart')
            self._spawn(self._lives.one_more())

    def _fresh(self, what: str) -> Chat:
        """A conversation that nobody else has; it takes a place, maybe the last one."""
        world, now = self._world, self._world.now()
        self._made += 1
        self._fresh_at = [at for at in self._fresh_at if now - at < _LIFE_S] + [now]
        if len(world.chats) + len(self._fresh_at) > world.max_sessions:
            world.crowded_until = max(world.crowded_until, now + _LIFE_S)
        key = self._rng.choice(world.chats).key
        return Chat(f'{what}-{self._made}', key=key)

    def _some(self, items: Iterable[_T], share: float) -> list[_T]:
        return [item for item in items if self._rng.random() < share]

    def _spawn(self, what: Awaitable[None]) -> None:
        async def run() -> None:
            await what

        task = asyncio.create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
