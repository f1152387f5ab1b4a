"""F45: how owners share the limits, against a plain model, and over real segments."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shmstream import clock
from shmstream.errors import NoRoom
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.extents import segment_writer
from shmstream.memory.room import Room
from shmstream.memory.table import WorkerTable
from shmstream.ring.layout import W_OWNER_ROOM
from shmstream.ring.state import State
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.shares import Shares

SESSIONS, MEMORY, NEED = 12, 1600, 20
A, B = bytes(32), b'b' * 32


@dataclass(eq=False)
class Owner:
    """What one owner holds: sizes of what is live, and of what has ended."""

    live: list[int]
    ended: list[int]

    @property
    def sessions(self) -> int:
        return len(self.live) + len(self.ended)

    @property
    def memory(self) -> int:
        return self.live_memory + sum(self.ended)

    @property
    def live_sessions(self) -> int:
        return len(self.live)

    @property
    def live_memory(self) -> int:
        return sum(self.live)

    @property
    def can_lose(self) -> bool:
        return bool(self.ended)


MOVES = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from(['make', 'grow', 'end']), st.integers(1, 400)
    ),
    max_size=80,
)


@given(MOVES)
def test_f45_who_keeps_within_its_share_loses_nothing_to_the_other(
    moves: list[tuple[int, str, int]],
) -> None:
    config = SupervisorConfig(max_sessions=SESSIONS, max_memory=MEMORY)
    shares = Shares(config)
    owners = [Owner([], []), Owner([], [])]
    for number, move, size in moves:
        asker, other = owners[number], owners[1 - number]
        fair = other.sessions <= SESSIONS // 2 and other.memory <= shares.usable // 2
        had = list(other.ended)
        if move == 'end' and asker.live:
            asker.ended.append(asker.live.pop(0))
        elif move == 'grow' and asker.live:
            rest = shares.of_memory(True) - asker.live_memory
            asker.live[size % len(asker.live)] += min(size, max(rest, 0))
        elif move == 'make':
            _make(shares, owners, asker)
        while loser := shares.loser_to_growth(
            True, owners, owners[0].memory + owners[1].memory, MEMORY
        ):
            loser.ended.pop(0)
        if fair:
            assert other.ended == had
        for owner in owners:
            assert owner.live_sessions <= SESSIONS // 2
            assert owner.live_memory <= shares.usable // 2
        assert sum(owner.sessions for owner in owners) <= SESSIONS
        assert sum(owner.memory for owner in owners) <= shares.usable


def _make(shares: Shares, owners: list[Owner], asker: Owner) -> None:
    if shares.refusal(True, asker.live_sessions + 1, asker.live_memory + NEED):
        return
    while True:
        count = sum(owner.sessions for owner in owners) + 1
        memory = sum(owner.memory for owner in owners) + NEED
        if shares.shortage(count, memory) is None:
            asker.live.append(NEED)
            return
        loser = shares.loser(asker, owners, NEED, of_memory=count <= SESSIONS)
        # Who is within its share is never refused.
        assert loser is not None
        loser.ended.pop(0)


def _registry(path: Path, max_sessions: int = 64) -> tuple[Registry, WorkerTable]:
    directory = RuntimeDirectory(path / 'run')
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    table.take(0, 1, os.getpid())
    config = SupervisorConfig(max_sessions=max_sessions, max_memory=1 << 20)
    return Registry(directory, config, table), table


def test_f45_owners_of_the_library_share_as_soon_as_there_are_two(
    tmp_path: Path,
) -> None:
    registry, _ = _registry(tmp_path, max_sessions=4)
    locks = []

    def make(owner: bytes, conv_id: str) -> bool:
        with suppress(NoRoom):
            session, locked = registry.create(owner, conv_id, 65536, 1)
            locks.append((session, locked))
            return True
        return False

    # One alone may use everything.
    assert [make(A, f'a{n}') for n in range(5)] == [True] * 4 + [False]
    assert not make(B, 'b0')
    for session, locked in locks[:3]:
        segment_writer(session.segment, locked).finish(State.COMPLETE, clock.moment())
    assert [make(B, f'b{n}') for n in range(3)] == [True, True, False]
    left = [f'a{n}' for n in range(4)]
    assert [i for i in left if registry.lookup(A, [i])] == ['a2', 'a3']
    assert make(A, 'a4')
    assert [i for i in left if registry.lookup(A, [i])] == ['a3']
    for _, locked in locks:
        os.close(locked)
    registry.close()


def test_f45_the_streams_of_an_owner_are_told_what_they_may_take_together(
    tmp_path: Path,
) -> None:
    registry, table = _registry(tmp_path)
    made = [registry.create(owner, 'c', 1 << 20, 1) for owner in (A, B)]
    more, lock = registry.create(A, 'd', 1 << 20, 1)
    registry.look_at_room()
    share = (1 << 20) * 7 // 16
    rest = share - 2 * more.held
    assert made[0][0].words[W_OWNER_ROOM] == more.words[W_OWNER_ROOM] == rest + 1
    assert made[1][0].words[W_OWNER_ROOM] == share - more.held + 1
    room = Room(table, lambda: None)
    take = [room.take_for(session.segment) for session in (made[0][0], more)]

    async def write() -> None:
        assert take[0](rest - 4096)
        # Together: the one has taken what the other has not.
        assert not take[1](8192)
        assert take[1](4096)
        assert not take[0](1)
        # The other owner's can go on.
        assert room.take_for(made[1][0].segment)(4096)

    asyncio.run(write())
    # Alone again, the one is not bound any more.
    registry.evict(made[1][0])
    registry.look_at_room()
    assert made[0][0].words[W_OWNER_ROOM] == more.words[W_OWNER_ROOM] == 0
    for locked in (made[0][1], made[1][1], lock):
        os.close(locked)
    registry.close()
