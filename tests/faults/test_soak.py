"""Ten thousand sessions: nothing grows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmstream import Streams, SupervisorConfig
from tests.support.leaks import semaphores
from tests.support.supervisor import stop

SESSIONS = 10_000
KEPT = 50


def footprint(pid: int) -> tuple[int, int]:
    """Descriptors and mappings of a process."""
    return (
        len(os.listdir(f'/proc/{pid}/fd')),
        len(Path(f'/proc/{pid}/maps').read_text().splitlines()),
    )


@pytest.mark.timeout(180)
def test_ten_thousand_sessions_leave_no_trace(directory: Path) -> None:
    """1. Make, write, read, finish. 2. Count after 1,000 and after 10,000."""
    config = SupervisorConfig(capacity=65536, max_sessions=KEPT)
    with Streams.attach(directory, supervise=config) as streams:
        supervisor = streams.status()['pid']
        counts = []
        for number in range(SESSIONS):
            with streams.create(f'chat-{number}') as producer:
                producer.write(b'x' * 300)
                consumer = streams.open(f'chat-{number}')
                assert consumer.read(100) == b'x' * 200
            assert b''.join(consumer.follow(250)) == b'x' * 50
            if number in (1000, SESSIONS - 1):
                files = len(list((directory / 'sessions').iterdir()))
                counts.append((*footprint(os.getpid()), *footprint(supervisor), files))
        assert len(semaphores(directory)) == 1
        assert counts[1][-1] <= KEPT
        for early, late in zip(*counts, strict=True):
            assert late <= early + 3, counts
    stop(supervisor)
