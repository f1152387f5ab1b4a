"""What runs five times a second looks at live streams only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmstream import clock
from shmstream.ids import NOBODY
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import WorkerTable
from shmstream.ring.state import State
from shmstream.supervisor import deaths
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.finishing import Finishing
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session import Session, memory_of
from tests.support.registry import fresh_registry
from tests.support.session_files import held


def test_what_has_ended_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    registry, _ = fresh_registry(directory)
    locks = []
    for number in range(4):
        session, locked = registry.create(NOBODY, f'c{number}', 65536, 0)
        locks.append(locked)
        if number:
            writer = segment_writer(session.segment, locked)
            writer.append(bytes(30_000 * number))
            writer.finish(State.COMPLETE, clock.moment())
    registry.look_at_room()
    assert registry.memory() == held(directory.path)
    seen: list[str] = []

    def count(reserved: int) -> int:
        seen.append('measured')
        return memory_of(reserved)

    monkeypatch.setattr('shmstream.supervisor.holdings.memory_of', count)
    registry.look_at_room()
    assert len(seen) == 1
    for lock in locks:
        os.close(lock)
    registry.close()
    registry.look_at_room()
    assert registry.memory() == 0


def test_a_turn_of_looking_for_dead_producers_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every stream has its turn; those of workers that have gone each time."""
    monkeypatch.setattr(deaths, 'SLICE', 4)
    registry, table = fresh_registry(RuntimeDirectory(tmp_path / 'run'))
    table.take(0, 7, 1)
    table.take(1, 8, 1)
    locks = {}
    for number in range(10):
        _, locks[f'c{number}'] = registry.create(NOBODY, f'c{number}', 65536, 7)
    for number in range(3):
        _, locks[f'g{number}'] = registry.create(NOBODY, f'g{number}', 65536, 8)
    tried: list[str] = []
    finish = Finishing.finish

    def try_to(finishing: Finishing, session: Session) -> bool:
        tried.append(session.key[1])
        return finish(finishing, session)

    monkeypatch.setattr(Finishing, 'finish', try_to)
    for _ in range(4):
        assert not registry.finish_dead()
    assert len(tried) == 16
    assert set(tried) == set(locks)
    # A worker goes, and its locks are released later than its connection ends.
    tried.clear()
    assert registry.finish_dead(8) == 0
    assert tried == ['g0', 'g1', 'g2']
    table.free(1)
    for _ in range(3):
        tried.clear()
        registry.finish_dead()
        assert {'g0', 'g1', 'g2'} <= set(tried)
        assert len(tried) <= 7
    for conv_id in ('g0', 'g1', 'g2'):
        os.close(locks.pop(conv_id))
    assert registry.finish_dead() == 3
    # What has ended is looked at no more.
    registry.look_at_room()
    tried.clear()
    for _ in range(4):
        registry.finish_dead()
    assert set(tried) == set(locks)
    # One that ends without its process is found in its turn.
    os.close(locks.pop('c5'))
    assert sum(registry.finish_dead() for _ in range(3)) == 1
    for lock in locks.values():
        os.close(lock)
    registry.close()


def test_what_has_expired_is_found_without_a_look_at_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    config = SupervisorConfig(max_memory=1 << 30, max_sessions=8)
    registry = Registry(directory, config, table)
    # A machine may have been up for less than a TTL: the clock goes on, not back.
    ahead_s = 0
    now_ns = clock.now_ns
    monkeypatch.setattr(clock, 'now_ns', lambda: now_ns() + ahead_s * clock.NS)
    for number in range(8):
        session, locked = registry.create(NOBODY, f'c{number}', 65536, 0)
        if number == 3:
            ahead_s = int(config.ttl_s)
        segment_writer(session.segment, locked).finish(State.COMPLETE, clock.moment())
        os.close(locked)
    registry.look_at_room()
    asked: list[str] = []
    ended_ns = Session.ended_ns

    def ask(session: Session) -> int:
        asked.append(session.key[1])
        return ended_ns(session)

    monkeypatch.setattr(Session, 'ended_ns', ask)
    assert registry.collect() == 3
    assert asked == ['c0', 'c1', 'c2', 'c3']
    # Nor is it to make room.
    asked.clear()
    for number in range(3, 6):
        _, locked = registry.create(NOBODY, f'd{number}', 65536, 0)
        os.close(locked)
    for number in range(3, 6):
        assert registry.find(NOBODY, f'c{number}', None, clock.now_ns())
        _, locked = registry.create(NOBODY, f'e{number}', 65536, 0)
        os.close(locked)
        assert not registry.find(NOBODY, f'c{number}', None, clock.now_ns())
    assert asked == []
    registry.close()
