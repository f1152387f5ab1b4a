"""Where gevent or eventlet have made greenlets of threads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from shmstream import Streams
from shmstream.memory.worker_table import WorkerTable
from shmstream.wakeups.shared_board import BY_PIPE
from tests.support.child import Child
from tests.support.leaks import wait_until
from tests.wakeups import greenlet_actors


def by_pipe(table: WorkerTable, nap: int) -> bool:
    return bool(table.words[nap] & BY_PIPE)


def test_f56_greenlets_are_rung_by_the_pipe(directory: Path, streams: Streams) -> None:
    """Many wait at once in one thread, where no safety net wakes any of them."""
    with (
        streams.create('a') as producer,
        Child(greenlet_actors.follow, directory, 'a', 5) as child,
    ):
        assert child.hear() == 'following'
        membership = streams._process.holder.require()
        table, own = membership.table, membership.slot
        (slot,) = (s for s in range(64) if table.epoch(s) and s != own)
        for number in range(100):
            # One ring a nap: what is written while it does not nap needs none.
            nap = table.nap_at(slot)
            assert wait_until(partial(by_pipe, table, nap))
            producer.write(b'%d ' % number)
        producer.finish()
        whole = ''.join(f'{number} ' for number in range(100))
        assert child.hear() == [whole] * 5


@pytest.mark.parametrize('natively', [False, True])
def test_f56_greenlets_are_rung_from_within_their_process(
    directory: Path, streams: Streams, natively: bool
) -> None:
    with Child(greenlet_actors.write_and_follow, directory, 'a', natively) as child:
        assert child.hear() == ''.join(f'{number} ' for number in range(20))


def test_f56_eventlet_is_refused_in_one_line(directory: Path) -> None:
    """Before anything is asked of a supervisor: its sockets do not work either."""
    with Child(greenlet_actors.attach_under_eventlet, directory) as child:
        said = child.hear()
    assert 'eventlet' in said
    assert '\n' not in said
