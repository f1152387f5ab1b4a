"""One session as the supervisor sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from shmstream import clock
from shmstream.control.wire import to_json
from shmstream.memory.reservation import to_pages
from shmstream.memory.segment import Segment
from shmstream.ring.layout import (
    HEADER_BYTES,
    W_BEGUN,
    W_PRODUCER_EPOCH,
    W_RESERVED,
)
from shmstream.ring.ring import RingReader
from shmstream.ring.state import State

Key = tuple[bytes, str]
"""Owner digest and conversation id."""


def memory_of(reserved: int) -> int:
    """Return the memory of a segment: bytes, in whole pages.

    Args:
        reserved: bytes reserved of its ring.
    """
    return HEADER_BYTES + to_pages(reserved)


@dataclass(eq=False)
class Session:
    """One session and what the supervisor needs to act on it.

    Attributes:
        key: the owner and the conversation id.
        digest: the name of the session.
        segment: the mapped segment.
        file: the name of the session's file. It is the digest, unless the session is
            kept (``predecessors``).
        words: the segment's header as u64 words.
        held: bytes of memory that it held when it was last measured.
    """

    key: Key
    digest: str
    segment: Segment
    file: str = field(init=False)
    words: memoryview = field(init=False)
    held: int = field(default=0, init=False)
    _described: str | None = field(default=None, init=False)
    _ended_ns: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.file = self.digest
        # Kept here because thousands of sessions are measured a few times a second.
        self.words = self.segment.words

    @property
    def reader(self) -> RingReader:
        """The reader of the ring."""
        return self.segment.reader

    @property
    def producer_epoch(self) -> int:
        """The epoch of the worker that produces it."""
        epoch: int = self.words[W_PRODUCER_EPOCH]
        return epoch

    @property
    def has_begun(self) -> bool:
        """Whether the session is or was live, or is complete."""
        state = self.reader.producer_state
        return state in (State.LIVE, State.COMPLETE) or bool(self.words[W_BEGUN])

    @property
    def never_began(self) -> bool:
        """Whether the session has ended without having begun."""
        # The state is read first: once it is final, the session cannot begin any more.
        return self.reader.producer_state.final and not self.has_begun

    def ended_ns(self) -> int:
        """When the session ended, in ns since this boot; call it after the end only.

        It is computed once: the end of a session of an earlier boot comes from the wall
        clock, which may be set later.
        """
        if self._ended_ns is None:
            self._ended_ns = clock.since_boot(self.reader.ended)
        return self._ended_ns

    def asked_for_after(self, asked_ns: int) -> bool:
        """Whether its producer asked for it after this moment, in ns since boot."""
        of_this_boot, then_ns = self.asked_at()
        return of_this_boot and then_ns > asked_ns

    def asked_at(self) -> tuple[bool, int]:
        """When its producer asked for it; of two sessions, the larger one is newer.

        Returns:
            Whether that was in this boot, and when: in ns since boot, or of an earlier
            boot by the wall clock.
        """
        asked = self.segment.asked
        # A moment in the future belongs to an earlier boot. This test works also where
        # boots have no ids.
        of_this_boot = asked.boot == clock.BOOT and asked.now_ns <= clock.now_ns()
        return of_this_boot, asked.now_ns if of_this_boot else asked.wall_ns

    def memory(self) -> int:
        """Bytes of memory that it holds now, in whole pages."""
        return memory_of(self.words[W_RESERVED])

    def describe(self) -> str:
        """The session as a look-up returns it: JSON text of an object."""
        if self._described is not None:
            return self._described
        reader = self.reader
        # The producer's own state is read first. A stream that the supervisor has
        # cancelled is done for its readers, but its producer may still write.
        final = reader.finished
        state = reader.state
        done = state.final
        completed_at = reader.completed_at_ns // 1_000_000_000 if done else 0
        # Formatted here, because the JSON encoder takes three times as long.
        text = (
            f'{{"conversation_id":{to_json(self.key[1])}'
            f',"is_done":{"true" if done else "false"}'
            f',"total_bytes":{reader.total_bytes}'
            f',"started_at":{self.segment.created_at_ns // 1_000_000_000}'
            f',"completed_at":{completed_at}'
            f',"dropped_prefix":{reader.dropped_prefix}'
            f',"state":"{state.label}"'
            f',"generation":"{self.segment.generation}"}}'
        )
        if final:
            # The text is kept, because nothing in it changes any more, and a look-up
            # may find thousands of sessions.
            self._described = text
        return text
