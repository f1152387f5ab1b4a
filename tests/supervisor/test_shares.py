"""F45: how owners share the limits, whatever they do, over real segments."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmstream import clock
from shmstream.errors import NoRoom
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.reservation import FIRST_EXTENT
from shmstream.memory.room_share import RoomShare
from shmstream.memory.segment import Segment, hold
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.metrics.counts import Counts
from shmstream.ring.layout import HEADER_BYTES, W_OWNER_ROOM
from shmstream.ring.state import State
from shmstream.supervisor import eviction
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.gone import remove
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session import Session
from tests.support.service import fresh_directory

A, B, C = bytes(32), b'b' * 32, b'c' * 32
SESSIONS, LIMIT = 16, 1 << 20
USABLE = LIMIT - LIMIT // 8
NEED = HEADER_BYTES + FIRST_EXTENT


class Owner:
    """One owner's streams over a real registry, and who maps them.

    Args:
        scene: where the others are, too.
        owner: who it is.
    """

    def __init__(self, scene: Scene, owner: bytes) -> None:
        self._scene = scene
        self.owner = owner
        self.live: dict[str, tuple[Session, int]] = {}
        self.ended: list[Session] = []
        self._maps: list[int] = []
        self._made = 0

    @property
    def there(self) -> set[Session]:
        """What has ended and can still be found."""
        registry, now = self._scene.registry, clock.now_ns()
        return {s for s in self.ended if registry.find(*s.key, None, now) is s}

    @property
    def sessions(self) -> int:
        return len(self.live) + len(self.there)

    @property
    def held(self) -> int:
        """Bytes of all its files, whatever the registry counts."""
        return sum(
            path.stat().st_blocks * 512
            for path in self._scene.directory.sessions.iterdir()
            if Segment.attach(path).owner == self.owner
        )

    def make(self) -> bool:
        conv_id = f'c{self._made}'
        self._made += 1
        with suppress(NoRoom):
            self.live[conv_id] = self._scene.registry.create(
                self.owner, conv_id, LIMIT, 1
            )
            return True
        return False

    def grow(self, which: int, size: int) -> bool:
        """One of its streams is written; False if it is aborted for want of room."""
        session, lock = self._one(which)
        take = self._scene.room.take_for(session.segment)
        # A producer waits for a word and tries again.
        for _ in range(3):
            with suppress(NoRoom):
                segment_writer(session.segment, lock, take).append(bytes(size))
                return True
            self._scene.registry.look_at_room()
        self.end(which)
        return False

    def end(self, which: int) -> None:
        session, lock = self.live.pop(self._one(which)[0].key[1])
        segment_writer(session.segment, lock).finish(State.COMPLETE, clock.moment())
        os.close(lock)
        self.ended.append(session)

    def map(self, which: int) -> None:
        """One more reader of something that is there."""
        all_of_it = [session for session, _ in self.live.values()]
        all_of_it += [session for session in self.ended if session in self.there]
        path = self._scene.directory.segment(all_of_it[which % len(all_of_it)].digest)
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDWR)
            hold(fd)
            self._maps.append(fd)

    def unmap(self, which: int) -> None:
        os.close(self._maps.pop(which % len(self._maps)))

    def read(self, which: int) -> None:
        """One more stream, which somebody reads and goes on reading after its end."""
        if self.make():
            self.map(len(self.live) - 1)
            if self.grow(-1, which):
                self.end(-1)

    def delete(self, which: int) -> None:
        """Delete one; if it is live its producer has not noticed yet."""
        if self.there and which % 2:
            self._scene.registry.evict(sorted(self.there, key=str)[0])
        elif self.live:
            session, lock = self.live.pop(self._one(which)[0].key[1])
            self._scene.registry.evict(session)
            self._maps.append(lock)

    def _one(self, which: int) -> tuple[Session, int]:
        return list(self.live.values())[which % len(self.live)]

    def can(self, move: str) -> bool:
        if move in ('grow', 'end'):
            return bool(self.live)
        if move == 'unmap':
            return bool(self._maps)
        return move in ('make', 'read', 'look') or bool(self.live or self.there)

    def close(self) -> None:
        for lock in [*self._maps, *(lock for _, lock in self.live.values())]:
            os.close(lock)


class Scene:
    """A registry with memory of its own, and its owners.

    Args:
        owners: who they are.
        max_sessions: how many there may be.
    """

    def __init__(self, *owners: bytes, max_sessions: int = SESSIONS) -> None:
        self._path = fresh_directory()
        self.directory = RuntimeDirectory(self._path)
        self.directory.create()
        table = WorkerTable.create(self.directory.table, made_directory=True)
        table.take(0, 1, os.getpid())
        config = SupervisorConfig(
            max_sessions=max_sessions, max_memory=LIMIT, several_owners=True
        )
        self.registry = Registry(self.directory, config, table)
        self.registry.look_at_room()
        self.room = RoomShare(table, lambda: None)
        self.owners = [Owner(self, owner) for owner in owners]

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        for owner in self.owners:
            owner.close()
        self.registry.close()
        shutil.rmtree(self._path)

    @property
    def held(self) -> int:
        return sum(owner.held for owner in self.owners)


KINDS = [
    'make',
    'grow',
    'end',
    'map',
    'unmap',
    'delete',
    'look',
    'make',
    'read',
    'read',
]
SIZES = st.one_of(st.sampled_from([0, 60_001, 200_001]), st.integers(0, 200_000))
MOVES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(KINDS), SIZES),
    min_size=20,
    max_size=50,
)


@settings(deadline=None, print_blob=True, max_examples=120)
@given(MOVES)
def test_f45_who_keeps_within_its_share_loses_nothing_to_the_other(
    moves: list[tuple[int, str, int]],
) -> None:
    """Nor is it refused, or a stream of its aborted, whatever the other has mapped."""
    with Scene(A, B) as scene:
        for number, move, size in moves:
            asker, other = scene.owners[number], scene.owners[1 - number]
            if not asker.can(move):
                continue
            fair = other.sessions <= SESSIONS // 2 and other.held <= USABLE // 2
            had = other.there
            sessions, held = asker.sessions, asker.held
            if move == 'make':
                made = asker.make()
                within = sessions < SESSIONS // 2 and held + NEED <= USABLE // 2
                assert made or not within
            elif move == 'grow':
                # Of what is written, its last page may be taken as a whole.
                within = held + size + 4096 <= USABLE // 2
                assert asker.grow(size, size) or not within
            elif move == 'look':
                scene.registry.look_at_room()
            else:
                getattr(asker, move)(size)
            if fair:
                assert other.there == had
            assert len(asker.live) <= SESSIONS // 2
            assert scene.held <= LIMIT
            assert scene.registry.memory() <= LIMIT


def _fill(owner: Owner, size: int, held: int) -> list[Session]:
    """Have streams that ended until there is so much of this owner."""
    while owner.held + size + 2 * 4096 <= held:
        assert owner.make()
        assert owner.grow(-1, size)
        owner.end(-1)
    return owner.ended


def test_f45_what_is_gone_and_still_mapped_is_its_owner_s() -> None:
    """Who has nothing but that can have no more, and nobody else loses for it."""
    with Scene(A, B, C) as scene:
        first, second, third = scene.owners
        for which in range(len(_fill(first, 60_000, USABLE // 2))):
            first.map(which)
        mapped = first.held
        for _ in range(len(first.there)):
            first.delete(1)
        scene.registry.look_at_room()
        assert first.there == set()
        assert first.held == mapped
        had = set(_fill(second, 60_000, USABLE // 4))
        assert not all(first.make() for _ in range(SESSIONS // 2))
        assert first.held <= LIMIT // 2
        scene.registry.look_at_room()
        # A third asks for all that there is, and more.
        while third.make() and third.grow(-1, 60_000):
            scene.registry.look_at_room()
        assert second.there == had
        assert scene.held <= LIMIT


@pytest.mark.parametrize('grows', [False, True])
def test_f45_who_has_everything_mapped_leaves_the_other_its_share(grows: bool) -> None:
    """What is read cannot be freed: what is new, and what grows, adds nothing to it."""
    with Scene(A, B, max_sessions=256) as scene:
        first, second = scene.owners
        for which in range(len(_fill(first, 60_000, USABLE // 2))):
            first.map(which)
        first.delete(1)
        scene.registry.look_at_room()
        if grows:
            assert first.make()
            first.grow(-1, USABLE // 3)
        else:
            assert not all(first.make() for _ in range(32))
        # Two of them at the same time, until its share is full.
        assert second.make()
        while second.held + NEED + 24_000 <= USABLE // 2:
            assert second.make()
            assert second.grow(0, 16_000)
        assert scene.held <= LIMIT


def test_f45_what_nobody_maps_is_found_among_what_is_mapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However little is tried in one pass: the next one goes on."""
    monkeypatch.setattr(eviction, '_PROBES', 2)
    with Scene(A, B) as scene:
        first, second = scene.owners
        count = len(_fill(first, 40_000, USABLE // 2))
        assert count > 6
        for which in range(count - 1):
            first.map(which)
        (last,) = (s for s in first.ended[-1:])
        # One of those that are read is deleted, and holds what would be short.
        first.delete(1)
        tried = []

        def count_tries(path: Path, counts: Counts) -> bool:
            tried.append(path)
            return remove(path, counts)

        monkeypatch.setattr(eviction, 'remove', count_tries)
        for _ in range(count):
            if last not in first.there:
                break
            tried.clear()
            made = first.make()
            scene.registry.look_at_room()
            assert len(tried) <= 2 * (2 + 1) + 1
            assert made or last in first.there
        assert last not in first.there
        # The other is served all the while.
        for _ in range(SESSIONS // 2):
            assert second.make()


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
    room = RoomShare(table, lambda: None)
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
    assert more.words[W_OWNER_ROOM] != 0, 'the other still holds what is gone'
    os.close(made[1][1])
    registry.look_at_room()
    assert made[0][0].words[W_OWNER_ROOM] == more.words[W_OWNER_ROOM] == 0
    for locked in (made[0][1], lock):
        os.close(locked)
    registry.close()
