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
    """Return the bytes of memory, to the page, of a segment with so much reserved."""
    return HEADER_BYTES + to_pages(reserved)


@dataclass(eq=False)
class Session:
    """One session and what the supervisor needs to act on it.

    Attributes:
        key: its owner and its id.
        digest: its name.
        segment: its segment.
        file: the name of its file: its digest, unless it is kept (``predecessors``).
        words: the segment's.
        held: bytes of memory that it held when it was measured last.
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
        # At hand: thousands are looked at, a few times a second.
        self.words = self.segment.words

    @property
    def reader(self) -> RingReader:
        """Reads its ring."""
        return self.segment.reader

    @property
    def producer_epoch(self) -> int:
        """The epoch of the worker that produces it."""
        epoch: int = self.words[W_PRODUCER_EPOCH]
        return epoch

    @property
    def has_begun(self) -> bool:
        """Whether it is or was live, or is a whole answer."""
        state = self.reader.producer_state
        return state in (State.LIVE, State.COMPLETE) or bool(self.words[W_BEGUN])

    @property
    def never_began(self) -> bool:
        """Whether it has ended without having begun."""
        # In this order: what is final changes no more.
        return self.reader.producer_state.final and not self.has_begun

    def ended_ns(self) -> int:
        """When it ended, on the clock of this boot; only once it has.

        Reckoned once: what the wall clock had to say is not asked of it again.
        """
        if self._ended_ns is None:
            self._ended_ns = clock.since_boot(self.reader.ended)
        return self._ended_ns

    def asked_for_after(self, asked_ns: int) -> bool:
        """Whether its producer asked for it after this moment of this boot."""
        asked = self.segment.asked
        # One that is still to come is of an earlier boot, whatever is known of boots.
        of_this_boot = asked.boot == clock.BOOT and asked.now_ns <= clock.now_ns()
        return of_this_boot and asked.now_ns > asked_ns

    def memory(self) -> int:
        """Bytes of memory it holds, to the page."""
        return memory_of(self.words[W_RESERVED])

    def describe(self) -> str:
        """What a look-up tells of it: a JSON object."""
        if self._described is not None:
            return self._described
        reader = self.reader
        # The producer's own word, and before all else: a stream that has been cancelled
        # is done for its readers, and its producer may still write.
        final = reader.producer_state.final
        state = reader.state
        done = state.final
        completed_at = reader.completed_at_ns // 1_000_000_000 if done else 0
        # Put together by hand: an encoder made for each costs three times as much.
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
            # Nothing of it will change, and thousands may be asked for at once.
            self._described = text
        return text
