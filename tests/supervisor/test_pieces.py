"""A look-up that finds much is answered in pieces, and others have their turn."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from shmstream.control.request import call
from shmstream.ids import NOBODY
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.worker_table import WorkerTable
from shmstream.supervisor import operations
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.connection import Connection
from shmstream.supervisor.master_watch import MasterWatch
from shmstream.supervisor.operations import Operations
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.workers import Workers


def test_f43_one_piece_is_made_a_turn_and_all_arrive_in_order() -> None:
    made: list[int] = []

    def pieces() -> Iterator[str]:
        for number in range(4):
            made.append(number)
            more = 'true' if number < 3 else 'false'
            yield f'{{"ok":true,"more":{more},"sessions":[{number}]}}'

    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor() as pool:
        theirs.setblocking(False)
        connection = Connection(theirs)
        asked = pool.submit(call, ours, {'op': 'list'})
        connection.send_pieces(pieces())
        turns = [len(made)]
        while connection.flush():
            turns.append(len(made))
        assert turns == [1, 2, 3, 4]
        assert asked.result(10)[0]['sessions'] == [0, 1, 2, 3]
        # What is asked next is answered with its own.
        connection.send({'ok': True, 'pid': 1})
        assert not connection.flush()
        assert call(ours, {'op': 'status'})[0]['pid'] == 1


def test_f43_who_does_not_read_has_nothing_made() -> None:
    made: list[int] = []

    def pieces() -> Iterator[str]:
        for number in range(1000):
            made.append(number)
            yield 'x' * 100_000

    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        connection = Connection(theirs)
        connection.send_pieces(pieces())
        for _ in range(1000):
            assert connection.flush()
        assert len(made) < 100
        connection.close()


def test_f43_what_goes_between_two_pieces_is_left_out_and_kept_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, 'PIECE', 4)
    directory = RuntimeDirectory(tmp_path / 'run')
    directory.create()
    table = WorkerTable.create(directory.table, made_directory=True)
    config = SupervisorConfig(max_memory=1 << 30)
    registry = Registry(directory, config, table)
    for number in range(10):
        session, lock = registry.create(NOBODY, f'a::{number}', 4096, 0)
        os.close(lock)
    del session
    # Neither has a part in looking up.
    answers = Operations(
        config, registry, cast('Workers', None), cast('MasterWatch', None)
    )
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor() as pool:
        theirs.setblocking(False)
        connection = Connection(theirs)
        asked = {'op': 'lookup', 'owner': NOBODY.hex(), 'ids': ['a', 'a::7', 'a']}
        found = pool.submit(call, ours, asked)
        answers.answer(connection, asked)
        for number in (1, 5, 9):
            gone = registry.find(NOBODY, f'a::{number}', None, 1 << 62)
            assert gone is not None
            registry.evict(gone)
        while connection.flush():
            pass
        told = [each['conversation_id'] for each in found.result(10)[0]['sessions']]
        # The first piece had been made already.
        assert told == [f'a::{number}' for number in (0, 1, 2, 3, 4, 6, 7, 8)]
    registry.close()
