"""What runs five times a second looks at live streams only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmstream import clock
from shmstream.ids import NOBODY
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.extents import segment_writer
from shmstream.memory.table import WorkerTable
from shmstream.ring.state import State
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session import Session


def test_what_has_ended_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    registry = Registry(directory, SupervisorConfig(max_memory=1 << 30), table)
    locks = []
    for number in range(4):
        session, locked = registry.create(NOBODY, f'c{number}', 65536, 0)
        locks.append(locked)
        if number:
            writer = segment_writer(session.segment, locked)
            writer.append(bytes(30_000 * number))
            writer.finish(State.COMPLETE, clock.moment())
    registry.look_at_room()
    files = directory.sessions.iterdir()
    assert registry.memory() == sum(file.stat().st_blocks * 512 for file in files)
    measured = []
    memory = Session.memory

    def count(session: Session) -> int:
        measured.append(session.key[1])
        return memory(session)

    monkeypatch.setattr(Session, 'memory', count)
    registry.look_at_room()
    assert measured == ['c0']
    for lock in locks:
        os.close(lock)
    registry.close()
    registry.look_at_room()
    assert registry.memory() == 0
