"""A process that gets another slot, and a fault on the way: it is whole in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shmstream import Streams
from shmstream.memory.mappings import Mappings
from shmstream.memory.slot_locks import SlotLock
from shmstream.memory.worker_table import WorkerTable
from shmstream.process import membership_holder
from shmstream.process.membership import Membership
from shmstream.wakeups.doorbell_thread import Doorbell
from shmstream.wakeups.hub_per_loop import LoopHubs
from shmstream.wakeups.shared_board import Board
from tests.api.following import Aside, in_a_thread, listens
from tests.support.leaks import wait_until
from tests.support.stranger import stranger
from tests.support.worker import Worker

Fail = Callable[[Any, str], None]


@pytest.fixture(scope='module')
def worker(streams: Streams) -> Iterator[Worker]:
    """Another process of the deployment."""
    with Worker(streams._process.directory.path, deployed=False) as started:
        yield started


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Have the next call of a method fail once for want of memory, in any thread."""

    def fail_once(owner: Any, name: str) -> None:
        real, left = getattr(owner, name), [1]

        def method(*arguments: Any, **named: Any) -> Any:
            if left and left.pop():
                raise MemoryError
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, method)

    return fail_once


def take_another_slot(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the supervisor give this process another slot."""
    link, holder = streams._process.link, streams._process.holder
    real, before = link.client._hello, holder.require()

    def hello() -> dict[str, Any]:
        # After a fault the process says hello again, and keeps its new slot.
        moved = holder.now is not before
        return real() if moved else real() | {'slot': None, 'epoch': 0}

    monkeypatch.setattr(link.client, '_hello', hello)
    # The doorbell's thread finds that the connection has ended.
    link.client.close()


def doorbells() -> int:
    """How many doorbell threads there are in this process."""
    return [each.name for each in threading.enumerate()].count('shmstream-doorbell')


@pytest.mark.parametrize(
    'where',
    [
        None,
        (Doorbell, 'stop'),
        (Board, 'move'),
        (Board, '_use'),
        (LoopHubs, 'move'),
        (Mappings, 'everything'),
        (SlotLock, 'release'),
        # Before the process has the new slot: it says hello again.
        (WorkerTable, 'attach'),
        (membership_holder, 'SlotLock'),
        (Doorbell, 'start'),
        (Membership, '__init__'),
    ],
    ids=lambda where: f'{where[0].__name__}.{where[1]}' if where else 'no fault',
)
def test_a_fault_while_a_process_moves_to_another_slot_leaves_it_whole(
    streams: Streams,
    conv_id: str,
    worker: Worker,
    fail: Fail,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[Any, str] | None,
) -> None:
    """Its followers are rung, its producers stopped, and its old slot is given back."""
    process = streams._process
    worker.create(conv_id)
    consumer = streams.open(conv_id)
    side = Aside(in_a_thread, consumer.follow())
    assert listens(consumer)
    before, threads = process.holder.require(), doorbells()
    if where is not None:
        fail(*where)
    take_another_slot(streams, monkeypatch)

    def moved() -> bool:
        now = process.holder.require()
        return now is not before and now.alive and now.before is None

    assert wait_until(moved)
    monkeypatch.undo()
    now = process.holder.require()
    assert (now.slot, now.epoch) != (before.slot, before.epoch)
    # Where the old doorbell's own thread met the fault, it may be on its way out still.
    assert wait_until(lambda: doorbells() == threads)
    assert not before.alive
    assert before.lock._fd < 0
    assert now.hubs.board._slot == now.slot
    table = now.table
    assert wait_until(lambda: table.epoch(before.slot) != before.epoch)
    assert consumer._segment.followers.everywhere(table.epoch) == 1
    # Cancelled by another process.
    stopped = threading.Event()
    with streams.create(f'{conv_id} here') as producer:
        producer.on_cancel(stopped.set)
        worker.order('control', 'cancel', [f'{conv_id} here'])
        assert stopped.wait(30)
    worker.order('write', conv_id, 'x')
    worker.order('finish', conv_id)
    assert side.result() == b'x'


def test_the_old_doorbell_does_not_take_the_turns_of_the_new_one(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it wakes up: only the new one can move what is left."""
    own = stranger(streams._process.directory.path)
    own.connect()
    process = own._process
    before = process.holder.require()
    real, may_move = Board.move, threading.Event()

    def move(*arguments: Any) -> None:
        if not may_move.is_set():
            raise MemoryError
        real(*arguments)

    monkeypatch.setattr(Board, 'move', move)
    take_another_slot(own, monkeypatch)
    with pytest.raises(MemoryError):
        process.link.client.connect()
    now, seen, turns = process.holder.require(), threading.Event(), list[int]()
    monkeypatch.setattr(
        process.mappings, 'forget_unused', lambda _: turns.append(threading.get_ident())
    )

    def wake_up_all_the_time() -> None:
        while not seen.is_set():
            process._on_wake(False)

    old = threading.Thread(target=wake_up_all_the_time)
    old.start()
    try:
        assert wait_until(lambda: turns.count(now.doorbell._thread.ident or 0) > 3)
        assert now.before is before
        assert old.ident not in turns
        may_move.set()
        assert wait_until(lambda: now.before is None)
    finally:
        seen.set()
        old.join()
        own.close()
    assert not before.alive


def test_who_leaves_before_all_is_moved_gives_both_slots_back(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = doorbells()
    own = stranger(streams._process.directory.path)
    own.connect()
    process = own._process
    before = process.holder.require()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Board, 'move', fail)
    take_another_slot(own, monkeypatch)
    with pytest.raises(MemoryError):
        process.link.client.connect()
    now = process.holder.require()
    # The thread of the new doorbell goes on with all else.
    assert wait_until(lambda: now.alive and not before.alive)
    assert now.before is before
    own.close()
    assert now.lock._fd < 0
    assert before.lock._fd < 0
    assert doorbells() == threads
