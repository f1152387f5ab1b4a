"""What the other processes of the ring's tests do."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from shmstream import clock
from shmstream.errors import OffsetLost
from shmstream.memory.segment import Segment
from shmstream.ring.fence import make_fence
from shmstream.ring.layout import W_HEAD
from shmstream.ring.ring import RingReader, RingWriter
from shmstream.ring.state import State
from tests.ring.buffers import content
from tests.support.child import say


def write_laps(path: str, seed: int, wrong: bool = False) -> None:
    """Lap the readers as fast as it goes, until cancelled.

    Args:
        path: the segment.
        seed: decides the sizes.
        wrong: write what belongs to the offset one further.
    """
    segment = Segment.attach(Path(path))
    writer = RingWriter(segment.view)
    rng = random.Random(seed)
    say('ready')
    while not segment.cancelled:
        for _ in range(50):
            size = rng.randrange(1, 6000) if rng.random() < 0.99 else 70_000
            writer.append(content(writer.head + wrong, size))
    writer.finish(State.COMPLETE, clock.moment())
    say(writer.head)


class HeadReader(RingReader):
    """Known to be wrong: takes what is there from head, before the copy and after."""

    @property
    def dropped_prefix(self) -> int:
        return max(self.total_bytes - self.capacity, 0)

    def read(self, offset: int, limit: int = sys.maxsize) -> bytes:
        copy = _unchecked(self, offset, limit)
        if self.dropped_prefix > offset:
            raise OffsetLost(offset, self.dropped_prefix, self.total_bytes)
        return copy


class TrustingReader(RingReader):
    """Known to be wrong: does not look again once it has copied."""

    def read(self, offset: int, limit: int = sys.maxsize) -> bytes:
        return _unchecked(self, offset, limit)


def _unchecked(reader: RingReader, offset: int, limit: int) -> bytes:
    head = reader.total_bytes
    if reader.dropped_prefix > offset:
        raise OffsetLost(offset, reader.dropped_prefix, head)
    size = min(head - offset, limit, reader.capacity)
    at = offset % reader.capacity
    whole = reader._data[at : at + size].tobytes()
    return whole + reader._data[: max(at + size - reader.capacity, 0)].tobytes()


class CarelessReader(RingReader):
    """Known to be wrong: looks neither before it copies nor after."""

    def read(self, offset: int, limit: int = sys.maxsize) -> bytes:
        at = offset % self.capacity
        return self._data[at : at + limit].tobytes()


READERS = {
    'ring': RingReader,
    'head': HeadReader,
    'trusting': TrustingReader,
    'careless': CarelessReader,
}


def read_laps(path: str, kind: str, seed: int, least: dict[str, int]) -> None:
    """Read at the ring's edges until its end, or until something is wrong.

    Says 'enough' once it has counted as much as ``least`` says, and its counts at the
    end. How often the writer comes in between is up to the machine; so every now and
    then it is waited for, and there is an offset that is lost for certain.
    """
    segment = Segment.attach(Path(path))
    reader = READERS[kind](segment.view)
    rng = random.Random(seed)
    counts = {'right': 0, 'lost': 0, 'bytes': 0}
    say('ready')
    enough = False
    while not reader.producer_state.final:
        for number in range(50):
            if rng.random() < 0.8:
                offset = reader.dropped_prefix + rng.randrange(1 << rng.randrange(15))
            else:
                offset = max(reader.total_bytes - rng.randrange(4096), 0)
            passed = not number and _passes(reader, offset)
            try:
                copy = reader.read(offset, rng.randrange(1, 1 << 17))
            except OffsetLost as ex:
                counts['lost'] += ex.dropped_prefix > offset == ex.offset
                continue
            if passed or (copy and copy != content(offset, len(copy))):
                say({'wrong': offset, **counts})
                return
            counts['right'] += 1
            counts['bytes'] += len(copy)
        if not enough and all(counts[name] >= least[name] for name in least):
            enough = True
            say('enough')
    say({'pid': os.getpid(), **counts})


def _passes(reader: RingReader, offset: int) -> bool:
    """Wait until the writer has overwritten this offset; False if it ends before."""
    while reader.dropped_prefix <= offset:
        if reader.producer_state.final:
            return reader.dropped_prefix > offset
        # Not the wait itself: on one processor the writer needs it to get on.
        time.sleep(0.0002)
    return True


def move_words(path: str, seconds: float, how: str, step: int) -> None:
    """Move head by ``step``, until cancelled or for some seconds.

    Args:
        path: the segment.
        seconds: how long.
        how: 'append', as a producer does; 'store', the same store alone, for steps that
            change all bytes of the word; 'halves', known to be wrong, in two stores,
            and the second not before it was cancelled if the first alone is wrong.
        step: bytes.
    """
    segment = Segment.attach(Path(path))
    writer = RingWriter(segment.view)
    chunk = bytes(step if how == 'append' else 0)
    words, halves = segment.words, segment.view[:4096].cast('I')
    head = 0
    say('ready')
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not segment.cancelled:
        for _ in range(100):
            head += step
            if how == 'append':
                writer.append(chunk)
            elif how == 'store':
                words[W_HEAD] = head
            else:
                halves[2 * W_HEAD] = head & 0xFFFFFFFF
                while words[W_HEAD] % step and not segment.cancelled:
                    if time.monotonic() >= deadline:
                        break
                    time.sleep(0.001)
                halves[2 * W_HEAD + 1] = head >> 32
    writer.finish(State.COMPLETE, clock.moment())
    say(head)


def store_buffering(path: str, side: int, how: str, seconds: float, least: int) -> None:
    """One side of the litmus: store mine, fence, load the other's.

    Both sides wait for each other before every round. Writes a byte for each round
    beside the segment: 1 if the other's store was not seen yet.

    Args:
        path: the segment.
        side: 0 or 1; the first one says when it is over.
        how: 'fenced', or 'mute', known to be wrong: it stores nothing.
        seconds: how long, if there have been enough rounds by then.
        least: rounds that are enough.
    """
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[side % len(processors)]})
    words = Segment.attach(Path(path)).view[4096:].cast('Q')
    mine, other = (0, 64) if side == 0 else (64, 0)
    here, there = mine + 128, other + 128
    fence = make_fence()
    unseen = bytearray()
    say('ready')
    deadline = time.monotonic() + seconds
    end = 0
    number = 0
    while True:
        number += 1
        # The first side says when to stop, in the word that the other waits for.
        # The other may see that a round earlier, so this one does a round more.
        if side == 0 and number > least + 1 and time.monotonic() >= deadline:
            end = 1 << 63
        words[here] = number | end
        spins = 0
        while words[there] & ~(1 << 63) < number:
            spins += 1
            if not spins % 5000:
                # It is not running: let it.
                time.sleep(0.0001)
        if end or words[there] >> 63:
            break
        if how == 'fenced':
            words[mine] = number
        fence()
        unseen.append(words[other] < number)
    # The other may be a round ahead, and wait for us.
    words[here] = (1 << 64) - 1
    Path(f'{path}.{side}').write_bytes(unseen)
    say('done')
