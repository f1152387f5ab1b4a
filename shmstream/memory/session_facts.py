"""What tools are told of a session: everything but its bytes.

The supervisor tells it of its mapped segments, and ``inspection`` of the files. Both
have the same fields, which ``docs/operations/command-line.md`` documents.
"""

from __future__ import annotations

from typing import TypedDict

from shmstream.dialects.table import DIALECTS
from shmstream.ids import digest
from shmstream.memory.segment_header import SegmentHeader
from shmstream.memory.worker_table import Slots
from shmstream.ring.layout import (
    EPOCH_TAG,
    MAX_SLOTS,
    W_CANCELLED,
    W_COMPLETED,
    W_DROPPED,
    W_FOLLOWERS,
    W_HEAD,
    W_PRODUCER_EPOCH,
    W_STATE,
)
from shmstream.ring.state import STATES, State, effective

_NS = 1_000_000_000


class SessionFacts(TypedDict):
    """The fields, in the order in which they are shown.

    Times are unix times in seconds, 0 if there is none.
    """

    conversation_id: str
    owner: str
    generation: str
    state: str
    is_done: bool
    total_bytes: int
    dropped_prefix: int
    capacity: int
    memory: int
    followers: int
    worker: int | None
    content_type: str
    dialect: str
    alias: str
    failure: str
    started_at: int
    completed_at: int


def facts_of(header: SegmentHeader, memory: int, slots: Slots) -> SessionFacts:
    """Return what the header of a segment says.

    Args:
        header: the header.
        memory: bytes of memory that the segment holds.
        slots: the slots of the workers that live.
    """
    words = header.words
    # The producer's own state is read first: once it is final, nothing else changes.
    number: int = words[W_STATE]
    own = STATES[number] if number < len(STATES) else State.ABORTED
    state = effective(own, words[W_CANCELLED])
    dialect = DIALECTS.get(header.dialect)
    return SessionFacts(
        conversation_id=header.conv_id,
        owner=header.owner.hex(),
        generation=header.generation,
        state=state.label,
        is_done=state.final,
        total_bytes=words[W_HEAD],
        dropped_prefix=words[W_DROPPED],
        capacity=header.capacity,
        memory=memory,
        followers=_followers(words, slots),
        worker=_pid(words[W_PRODUCER_EPOCH], slots),
        content_type=header.content_type,
        dialect=dialect.name if dialect else '',
        alias=header.alias,
        failure=header.failure,
        started_at=header.created_at_ns // _NS,
        completed_at=words[W_COMPLETED] // _NS if state.final else 0,
    )


def file_name(facts: SessionFacts) -> str:
    """Return the name of the session's file in the folder of sessions."""
    return digest(bytes.fromhex(facts['owner']), facts['conversation_id'])


def _followers(words: memoryview, slots: Slots) -> int:
    counts = words[W_FOLLOWERS : W_FOLLOWERS + MAX_SLOTS].tolist()
    if not any(counts):
        # So it is with most sessions, and tools ask of thousands.
        return 0
    return sum(
        counts[slot] & ~EPOCH_TAG
        for slot, (epoch, _) in slots.items()
        if counts[slot] & EPOCH_TAG == epoch & EPOCH_TAG
    )


def _pid(epoch: int, slots: Slots) -> int | None:
    return next((pid for known, pid in slots.values() if known == epoch), None)
