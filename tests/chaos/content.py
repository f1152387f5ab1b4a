"""What the upstream streams: bytes that say themselves where they belong.

Every event of a stream holds its stream's id, the nonce of this one generation, its
index, its absolute byte offset and a CRC of all of that::

    data: {"s":ID,"n":NONCE,"i":INDEX,"o":OFFSET,"p":PADDING,"c":CRC32}

so that any reader can tell what it was given, wherever it began. Upstream and clients
share the ``Script`` of a generation, and with it the truth about every byte.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import zlib
from dataclasses import dataclass, field

from tests.support.ends import failure

CAPACITY = 256 * 1024
"""Of a ring, in this soak: SHMSTREAM_SESSION_BYTES."""

_PAD = base64.b64encode(random.Random(0).randbytes(48 * 1024))
_EVENT = re.compile(
    rb'data: (\{"s":"[^"]*","n":"([0-9a-f]{16})","i":(\d{8}),"o":(\d{12}),'
    rb'"p":"[A-Za-z0-9+/=]*)","c":"([0-9a-f]{8})"\}\n\n'
)


@dataclass(frozen=True)
class Pace:
    """How fast a stream comes."""

    name: str
    size: tuple[int, int]
    pad: tuple[int, int]
    chunk: tuple[int, int]
    pause_s: tuple[float, float]


PACES = (
    Pace('drip', (10_000, 40_000), (10, 300), (100, 700), (0.1, 0.6)),
    Pace('trickle', (1_000, 40_000), (10, 200), (40, 900), (0.01, 0.2)),
    Pace('steady', (30_000, 250_000), (50, 600), (500, 4_000), (0.005, 0.05)),
    Pace('waves', (100_000, 700_000), (200, 3_000), (20_000, 90_000), (0.1, 1.2)),
    Pace('river', (500_000, 1_500_000), (500, 4_000), (4_000, 20_000), (0.01, 0.06)),
    Pace('flood', (300_000, 1_500_000), (500, 8_000), (16_000, 65_536), (0.0, 0.0)),
)
_WEIGHTS = (3, 7, 7, 4, 3, 2)
_ENDS = ('complete', 'broken', 'status', 'plain', 'refused')
_END_WEIGHTS = (82, 9, 4, 2, 3)


def event(conv_id: str, nonce: str, index: int, offset: int, pad: bytes) -> bytes:
    """Return one event that belongs at this offset and nowhere else."""
    name = json.dumps(conv_id).encode()
    head = b'{"s":%s,"n":"%s","i":%08d,"o":%012d,"p":"%s' % (
        name,
        nonce.encode(),
        index,
        offset,
        pad,
    )
    return b'data: %s","c":"%08x"}\n\n' % (head, zlib.crc32(head))


@dataclass(eq=False)
class Script:
    """One generation: what the upstream is to send, and what became of it.

    Attributes:
        end: ``complete``; ``broken`` off at ``stop_at``; a ``status`` other than 2xx; a
            ``plain`` answer that is no stream; ``refused`` without an answer.
        posted_at: when a client sent the POST.
        started_at: when the upstream got it.
        sent: bytes that the upstream has begun to send.
        how: how it ended upstream: ``end``, or ``hung up`` by the service.
        producer: the worker that produces it, once a client has been told.
        cancel_possible_at: when a client first did what may stop it.
        cancel_certain_at: when a client was told that it has been stopped.
    """

    conv_id: str
    nonce: str
    data: bytes
    end: str
    stop_at: int
    pace: Pace
    prefill_s: float
    status: int = 200
    posted_at: float = 0.0
    started_at: float | None = None
    sent: int = 0
    how: str | None = None
    ended_at: float | None = None
    producer: int | None = None
    cancel_possible_at: float | None = None
    cancel_certain_at: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def streams(self) -> bool:
        """Whether it is to become a session."""
        return self.end in ('complete', 'broken')

    @property
    def whole(self) -> int:
        """Bytes of whole events that have been sent: the rest is held back."""
        if self.sent >= len(self.data):
            return self.sent
        end = self.data.rfind(b'\n\n', 0, self.sent)
        return 0 if end < 0 else end + 2

    @property
    def plain_body(self) -> bytes:
        """The body of an answer that is no stream."""
        return json.dumps({'plain': self.nonce, 'status': self.status}).encode()

    def may_be_cancelled(self, now: float) -> None:
        """A request that may stop it has been sent."""
        if self.cancel_possible_at is None:
            self.cancel_possible_at = now

    def finish(self, how: str, now: float) -> None:
        """It has ended upstream."""
        if self.how is None:
            self.how, self.ended_at = how, now
            self.over.set()


def write_script(
    rng: random.Random, conv_id: str, wish: str | None = None, end: str | None = None
) -> Script:
    """Choose a generation.

    Args:
        rng: decides everything.
        conv_id: whose it is.
        wish: the pace, if it matters.
        end: the end, if it matters.
    """
    pace = next((p for p in PACES if p.name == wish), None)
    if pace is None:
        pace = rng.choices(PACES, _WEIGHTS)[0]
    nonce = f'{rng.getrandbits(64):016x}'
    size = rng.randint(*pace.size)
    parts: list[bytes] = []
    offset = 0
    while offset < size:
        at, length = rng.randrange(len(_PAD) // 2), rng.randint(*pace.pad)
        part = event(conv_id, nonce, len(parts), offset, _PAD[at : at + length])
        parts.append(part)
        offset += len(part)
    data = b''.join(parts)
    end = rng.choices(_ENDS, _END_WEIGHTS)[0] if end is None else end
    stop_at = rng.randint(1, len(data) - 1) if end == 'broken' else len(data)
    if end == 'broken' and rng.random() < 0.5:
        # At the end of an event, too: all that has come is the stream's then.
        stop_at = max(data.rfind(b'\n\n', 0, stop_at) + 2, 1)
    prefill_s = 0.0
    if rng.random() < 0.15:
        prefill_s = rng.choice((0.1, 0.5, 1.5, 6.0))
    status = rng.choice((400, 404, 429, 500)) if end == 'status' else 200
    return Script(conv_id, nonce, data, end, stop_at, pace, prefill_s, status)


# -- the last event of a stream that failed --------------------------------------------

DIED = 'the producer of this stream has died'
BROKE = 'upstream broke off the stream'
LEFT = (
    'the producing worker has shut down',
    'the producing worker is shutting down',
    'the producer is shutting down',
)
MESSAGES = (DIED, BROKE, *LEFT, 'no room left for this stream')


@dataclass(frozen=True)
class ErrorTail:
    """An error event at the end of a stream that stops at ``start``."""

    start: int
    message: str
    text: bytes

    @property
    def end(self) -> int:
        """The stream's size with it."""
        return self.start + len(self.text)

    def truth(self, script: Script, offset: int, size: int) -> bytes:
        """What a reader is to be given at this offset."""
        own = script.data[offset : min(offset + size, self.start)]
        at = max(offset - self.start, 0)
        return own + self.text[at : at + size - len(own)]


_REACH = 600


def error_tails(script: Script, offset: int, chunk: bytes) -> list[ErrorTail]:
    """Return the error events that would explain these bytes at this offset."""
    data = script.data
    same = 0
    for ours, theirs in zip(data[offset:], chunk, strict=False):
        if ours != theirs:
            break
        same += 1
    differs = offset + same
    base = max(offset, differs - _REACH)
    offset, chunk = base, chunk[base - offset :]
    found = []
    for start in range(max(differs - _REACH, 0), min(differs, len(data)) + 1):
        if data[max(start - 2, 0) : start] not in (b'', b'\n\n'):
            # What the service writes ends where an event ends.
            continue
        for message in MESSAGES:
            text = failure(message)
            tail = ErrorTail(start, message, text)
            if tail.truth(script, offset, len(chunk)) == chunk:
                found.append(tail)
    return found


def diagnose(script: Script | None, offset: int, chunk: bytes) -> tuple[str, str]:
    """Return what is wrong with bytes that are not the truth: a kind, and a line."""
    for found in _EVENT.finditer(chunk):
        head, nonce, index, at, crc = found.groups()
        if int(crc, 16) != zlib.crc32(head):
            return 'torn', f'CRC of event {int(index)} at {offset + found.start()}'
        if script is not None and nonce.decode() != script.nonce:
            return 'torn', f"a stranger's bytes: nonce {nonce.decode()}"
        if int(at) != offset + found.start():
            kind = 'lost' if int(at) > offset + found.start() else 'doubled'
            return kind, f'event of offset {int(at)} at {offset + found.start()}'
    if script is not None and len(chunk) >= 16:
        at_ = script.data.find(chunk)
        if at_ >= 0:
            kind = 'lost' if at_ > offset else 'doubled'
            return kind, f'bytes of offset {at_}'
    return 'torn', f'no event in {chunk[:80]!r}'
