"""Ten thousand sessions: nothing grows."""

from __future__ import annotations

import operator
import os
from functools import partial
from pathlib import Path

from shmstream import Streams, SupervisorConfig
from tests.support.leaks import semaphores, wait_until
from tests.support.supervisor import stop

SESSIONS = 10_000
KEPT = 50


def footprint(pid: int) -> tuple[int, int]:
    """Descriptors and mapped files of a process."""
    mapped = Path(f'/proc/{pid}/maps').read_text().splitlines()
    return len(os.listdir(f'/proc/{pid}/fd')), sum(' /' in line for line in mapped)


def settled(directory: Path) -> bool:
    """Whether nothing is kept for who comes back soon, nor for who still mapped it."""
    mapped = Path('/proc/self/maps').read_text()
    aside = (directory / 'sessions').glob('.gone-*')
    return f'{directory}/sessions/' not in mapped and not any(aside)


def test_ten_thousand_sessions_leave_no_trace(directory: Path) -> None:
    """1. Make, write, read, finish. 2. Count after 1,000 and after 10,000.

    When it has settled: a mapping is kept for a second or two after its last use.
    """
    config = SupervisorConfig(capacity=65536, max_sessions=KEPT)
    with Streams.attach(directory, supervise=config) as streams:
        streams.connect()
        supervisor = streams.status()['pid']

        def count() -> tuple[int, ...]:
            files = len(list((directory / 'sessions').iterdir()))
            return (*footprint(os.getpid()), *footprint(supervisor), files)

        early: tuple[int, ...] = ()
        for number in range(SESSIONS):
            with streams.create(f'chat-{number}') as producer:
                producer.write(b'x' * 300)
                consumer = streams.open(f'chat-{number}')
                assert consumer.read(100) == b'x' * 200
            assert b''.join(consumer.follow(250)) == b'x' * 50
            if number == 1000:
                del producer, consumer
                assert wait_until(partial(settled, directory))
                early = count()
        del producer, consumer
        wait_until(lambda: all(map(operator.le, count(), early)))
        late = count()
        assert all(map(operator.le, late, early)), (early, late)
        assert late[-1] <= KEPT
        assert len(semaphores(directory)) == 1
    stop(supervisor)
