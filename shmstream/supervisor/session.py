"""One session as the supervisor sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shmstream.memory.segment import Segment
from shmstream.ring.layout import HEADER_BYTES, W_PRODUCER_EPOCH
from shmstream.ring.ring import RingReader

Key = tuple[bytes, str]
"""Owner digest and conversation id."""

_PAGE = 4096


@dataclass(eq=False)
class Session:
    """One session and what the supervisor needs to act on it."""

    key: Key
    digest: str
    segment: Segment

    @property
    def reader(self) -> RingReader:
        """Reads its ring."""
        return self.segment.reader

    @property
    def producer_epoch(self) -> int:
        """The epoch of the worker that produces it."""
        epoch: int = self.segment.words[W_PRODUCER_EPOCH]
        return epoch

    def memory(self) -> int:
        """Bytes of memory it holds, to the page."""
        reserved = self.reader.reserved
        return HEADER_BYTES + -(-reserved // _PAGE) * _PAGE

    def describe(self) -> dict[str, Any]:
        """What a look-up tells of it."""
        reader = self.reader
        state = reader.state
        done = state.final
        return {
            'conversation_id': self.key[1],
            'is_done': done,
            'total_bytes': reader.total_bytes,
            'started_at': self.segment.created_at_ns // 1_000_000_000,
            'completed_at': reader.completed_at_ns // 1_000_000_000 if done else 0,
            'dropped_prefix': reader.dropped_prefix,
            'state': state.label,
            'generation': self.segment.generation,
        }
