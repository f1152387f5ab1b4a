"""The header of a segment: what it says of its session.

``SegmentHeader`` works on any bytes that are laid out as ``ring.layout`` draws them: on
a mapping, whose words change while they are read, or on a copy.
"""

from __future__ import annotations

import functools

from shmstream.clock import Moment
from shmstream.errors import LayoutMismatch
from shmstream.ids import MAX_ALIAS_BYTES, MAX_ID_BYTES, digest_of_raw
from shmstream.ring.layout import (
    B_ALIAS,
    B_FAILURE,
    B_ID,
    B_KEPT,
    B_OWNER,
    B_TYPE,
    HEADER_BYTES,
    LAYOUT_VERSION,
    MAGIC,
    MAX_CONTENT_TYPE,
    MAX_FAILURE,
    MAX_KEPT,
    W_ALIAS_LENGTH,
    W_ASKED,
    W_ASKED_BOOT,
    W_CANCELLED,
    W_CAPACITY,
    W_CREATED,
    W_DIALECT,
    W_EVICTED,
    W_FAILURE_LENGTH,
    W_GENERATION,
    W_ID_LENGTH,
    W_KEPT_LENGTH,
    W_MAGIC,
    W_STATE,
    W_TYPE_LENGTH,
    W_VERSION,
)
from shmstream.ring.state import STATES, State


class SegmentHeader:
    """What the header of a segment says.

    Args:
        view: bytes that begin with the header.

    Attributes:
        view: the same bytes.
        words: the header as u64 words.
        capacity: bytes of the ring.
        generation: the random number of this session, as 16 hexadecimal digits.
    """

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.words = view[:HEADER_BYTES].cast('Q')
        self.capacity: int = self.words[W_CAPACITY]
        self.generation = f'{self.words[W_GENERATION]:016x}'
        self._content_type = ''

    def check(self, size: int) -> None:
        """Check that it is the header of a segment of this version.

        Args:
            size: bytes of the segment's file.

        Raises:
            LayoutMismatch: it is not, or it is damaged.
        """
        words = self.words
        if words[W_MAGIC] != MAGIC:
            raise LayoutMismatch('not a segment, or not ready yet')
        if words[W_VERSION] != LAYOUT_VERSION:
            raise LayoutMismatch(
                f'layout version {words[W_VERSION]}, this is {LAYOUT_VERSION}'
            )
        if self.capacity != size - HEADER_BYTES:
            raise LayoutMismatch(f'capacity {self.capacity} in a file of {size} bytes')
        if not 0 < words[W_ID_LENGTH] <= MAX_ID_BYTES:
            raise LayoutMismatch(f'conversation id of {words[W_ID_LENGTH]} bytes')
        if words[W_ALIAS_LENGTH] > MAX_ALIAS_BYTES:
            raise LayoutMismatch(f'alias of {words[W_ALIAS_LENGTH]} bytes')
        if words[W_TYPE_LENGTH] > MAX_CONTENT_TYPE:
            raise LayoutMismatch(f'content type of {words[W_TYPE_LENGTH]} bytes')
        if words[W_KEPT_LENGTH] > MAX_KEPT:
            raise LayoutMismatch(f'kept headers of {words[W_KEPT_LENGTH]} bytes')
        if words[W_STATE] >= len(STATES):
            raise LayoutMismatch(f'no such state: {words[W_STATE]}')

    @property
    def raw_id(self) -> bytes:
        """The bytes of the conversation id."""
        length = min(self.words[W_ID_LENGTH], MAX_ID_BYTES)
        return bytes(self.view[B_ID : B_ID + length])

    @property
    def conv_id(self) -> str:
        """The conversation id."""
        return self.raw_id.decode('utf-8', 'replace')

    @property
    def alias(self) -> str:
        """The second name of the session; empty if it has none, or none yet."""
        length = min(self.words[W_ALIAS_LENGTH], MAX_ALIAS_BYTES)
        if not length:
            return ''
        return bytes(self.view[B_ALIAS : B_ALIAS + length]).decode('utf-8', 'replace')

    @functools.cached_property
    def digest(self) -> str:
        """The digest of the owner and id in the header: the name of the session."""
        return digest_of_raw(self.owner, self.raw_id)

    @property
    def owner(self) -> bytes:
        """The owner's digest."""
        return bytes(self.view[B_OWNER])

    @property
    def content_type(self) -> str:
        """The content type of the stream; empty while the session is pending."""
        if self._content_type:
            return self._content_type
        # The state is read before the type, because the producer may write the type
        # until the stream is no longer pending.
        settled = self.words[W_STATE] != State.PENDING
        length = min(self.words[W_TYPE_LENGTH], MAX_CONTENT_TYPE)
        found = bytes(self.view[B_TYPE : B_TYPE + length]).decode('latin-1')
        if settled:
            self._content_type = found
        return found

    @property
    def kept_headers(self) -> bytes:
        """The headers that replays have as well: lines of ``kept_headers.to_keep``."""
        length = min(self.words[W_KEPT_LENGTH], MAX_KEPT)
        return bytes(self.view[B_KEPT : B_KEPT + length]) if length else b''

    @property
    def dialect(self) -> int:
        """The number of the stream's dialect (``dialects.table``); 0 if unknown."""
        number: int = self.words[W_DIALECT]
        return number

    @property
    def failure(self) -> str:
        """Why the stream has failed, if its bytes do not tell it; else empty."""
        length = min(self.words[W_FAILURE_LENGTH], MAX_FAILURE)
        raw = bytes(self.view[B_FAILURE : B_FAILURE + length])
        return raw.decode('utf-8', 'replace')

    @property
    def created_at_ns(self) -> int:
        """When the segment was made, unix time in ns; for showing."""
        created: int = self.words[W_CREATED]
        return created

    @property
    def asked(self) -> Moment:
        """When the producer asked for the segment; of two, the later one is newer."""
        words = self.words
        return Moment(words[W_CREATED], words[W_ASKED], words[W_ASKED_BOOT])

    @property
    def cancelled(self) -> bool:
        """Whether the supervisor has told the producer to stop."""
        return bool(self.words[W_CANCELLED])

    @property
    def evicted(self) -> bool:
        """Whether the session can no longer be found under its id."""
        return bool(self.words[W_EVICTED])
