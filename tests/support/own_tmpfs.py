"""Runs in a mount namespace of its own, with a /dev/shm of its own (F42).

A reader maps what is then deleted, replaced or collected, and lets go when it is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from shmstream import Consumer, NoRoom, Streams, SupervisorConfig
from shmstream.memory.room_share import RoomShare
from tests.support.child import Child, hear, say
from tests.support.leaks import wait_until

LIMIT = 2 << 20
SIZE = 256 * 1024
ROUNDS = 40


def read(directory: str) -> None:
    """Map what is named, and keep it until told to let go."""
    with Streams.attach(directory) as streams:
        held: list[Consumer] = []
        while (conv_id := hear()) is not None:
            held.append(streams.open(conv_id))
            say(len(held))
        held.clear()
        say('let go')
        hear()


def used() -> int:
    """Bytes that the file system has allocated."""
    room = os.statvfs('/dev/shm')
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def main() -> None:
    how = sys.argv[1]
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', '/dev/shm'], check=True
    )
    directory = Path('/dev/shm/run')
    # However busy the machine is: while nobody answers, there is no limit.
    RoomShare.ANSWER_S = 60.0
    ttl_s = 0.1 if how == 'expire' else 300.0
    config = SupervisorConfig(
        capacity=SIZE, max_memory=LIMIT, ttl_s=ttl_s, gc_interval_s=0.05
    )
    most = made = refused = 0
    with Streams.attach(directory, supervise=config) as streams:
        streams.connect()
        idle = used()
        with Child(read, directory) as reader:
            for number in range(ROUNDS):
                conv_id = 'same' if how == 'replace' else f'c{number}'
                try:
                    producer = streams.create(conv_id)
                except NoRoom:
                    refused += 1
                    break
                made += 1
                producer.write(bytes(SIZE // 2))
                reader.say(conv_id)
                reader.hear()
                producer.finish()
                del producer
                if how == 'delete':
                    streams.evict(conv_id)
                elif how == 'expire':
                    wait_until(lambda name=conv_id: not streams.lookup([name]))  # type: ignore[misc]
                most = max(most, used() - idle)
            counted = streams.status()['memory']
            reader.say(None)
            assert reader.hear() == 'let go'

            def again() -> bool:
                try:
                    streams.create('again').finish()
                except NoRoom:
                    return False
                return True

            served = wait_until(again)
        streams.evict('again')
        streams.evict('same')
        left = wait_until(lambda: used() - idle < SIZE)
    seen = {
        'most': most,
        'counted': counted,
        'made': made,
        'refused': refused,
        'served': served,
        'left': left,
    }
    print(json.dumps(seen))


if __name__ == '__main__':
    # A child imports its function from here by name.
    from tests.support import own_tmpfs

    own_tmpfs.main()
