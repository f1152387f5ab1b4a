"""How much memory and how many descriptors a load takes, from measured figures.

Every figure is the median of a command that measures it again: ``python -m bench
sizes`` and ``python -m bench scale``, on CPython 3.11 with gunicorn 27 and uvloop. They
are those of all processes together, each page of memory counted once.
"""

from __future__ import annotations

from dataclasses import dataclass

from shmstream.memory.reservation import FIRST_EXTENT, extend_to
from shmstream.memory.worker_table import PLACES
from shmstream.metrics.blocks import FILE_BYTES
from shmstream.ring.layout import HEADER_BYTES, WORD

KIB = 1024

BASE_BYTES = 54 << 20
"""Master and supervisor (``bench sizes``)."""

WORKER_BYTES = 22 << 20
"""An idle worker in front of an upstream (``bench sizes``)."""

LIVE_BYTES = 77 * KIB
"""A live answer, beside its segment, with the connections of its client and to the
upstream (``bench sizes``). The processes keep this memory once they had it."""

FOLLOWER_BYTES = 25 * KIB
"""A follower, the first one of its stream in its worker; a further one takes 22 KiB
(``bench scale``)."""

LIVE_DESCRIPTORS = 5
FOLLOWER_DESCRIPTORS = 2
IDLE_DESCRIPTORS = 22
"""Of a worker without requests (``bench sizes``)."""

ROOM = 1.25
"""What is planned is larger than what is measured by this factor: for clients that are
slow (what waits for them is in the kernel's and the server's buffers), and for the
allocator."""

_TABLE_BYTES = 12288
_PAGE = 4096


@dataclass(frozen=True)
class Load:
    """What a deployment is planned for.

    Attributes:
        sessions: streams that exist at once, live ones and those kept after their end.
        followers: clients that read them at once, beside the clients of the POSTs.
        answer_bytes: bytes of an answer.
        ring_bytes: the size of a ring (``SHMSTREAM_SESSION_BYTES``).
        workers: gunicorn workers.
    """

    sessions: int
    followers: int
    answer_bytes: int
    ring_bytes: int
    workers: int


@dataclass(frozen=True)
class Plan:
    """What the load takes, in bytes and numbers.

    Attributes:
        segment: one session's file.
        sessions: all of them: the limit to set (``SHMSTREAM_MAX_MEMORY``).
        file_system: what the file system of the runtime directory has to have.
        processes: the processes' own memory, also during a reload.
        memory: all of it: what a container or a unit has to be allowed.
        worker_descriptors: of one worker, if requests are shared out evenly.
        descriptors: to allow a process: twice that, or what the supervisor needs.
        mappings: of the supervisor, and of a worker at the most.
    """

    segment: int
    sessions: int
    file_system: int
    processes: int
    memory: int
    worker_descriptors: int
    descriptors: int
    mappings: int


def plan(load: Load) -> Plan:
    """Add it up.

    Example::

        planned = plan(Load(500, 1000, 20_000, 4 << 20, 4))
        print(planned.memory >> 20, 'MiB')
    """
    segment = segment_bytes(load.answer_bytes, load.ring_bytes)
    sessions = load.sessions * segment
    # A reload has twice the workers; each has a board of marks in the directory.
    others = _TABLE_BYTES + FILE_BYTES + 2 * load.workers * PLACES * WORD
    file_system = int(sessions * ROOM) + others
    own = (
        BASE_BYTES
        + 2 * load.workers * WORKER_BYTES
        + int(ROOM * (load.sessions * LIVE_BYTES + load.followers * FOLLOWER_BYTES))
    )
    shared_out = (
        load.sessions * LIVE_DESCRIPTORS + load.followers * FOLLOWER_DESCRIPTORS
    )
    worker = IDLE_DESCRIPTORS + -(-shared_out // load.workers)
    supervisor = load.sessions + 64
    return Plan(
        segment,
        sessions,
        file_system,
        own,
        own + file_system,
        worker,
        # A reload gives all connections to half of the workers for a while.
        max(2 * worker, supervisor * 8 // 7),
        supervisor + supervisor // 16,
    )


def segment_bytes(answer_bytes: int, ring_bytes: int) -> int:
    """Return what the file of a stream of so many bytes takes, written bit by bit.

    Example::

        assert segment_bytes(20_000, 4 << 20) == 28 << 10
    """
    reserved = min(FIRST_EXTENT, ring_bytes)
    while reserved < min(answer_bytes, ring_bytes):
        reserved = extend_to(reserved, reserved + 1, ring_bytes)
    return HEADER_BYTES + -(-reserved // _PAGE) * _PAGE


def followers_within(descriptors: int) -> int:
    """Return how many followers one worker can have with so many descriptors."""
    return max(descriptors - IDLE_DESCRIPTORS, 0) // FOLLOWER_DESCRIPTORS
