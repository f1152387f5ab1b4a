"""Exceptions, named for the state that the caller met.

``LocalError`` means that the API was misused. Every other exception states a fact about
the stream or the deployment, which a correct program has to expect. Numbers that a
caller needs in order to go on (offsets, limits, seconds) are attributes, not only text.
"""

from __future__ import annotations

from typing import Any


class ShmstreamError(Exception):
    """Base of every error that this package raises on purpose."""


class LocalError(ShmstreamError, ValueError):
    """The call itself is wrong: a bad argument, or an object used after its end."""


class InvalidConversationId(LocalError):
    """The id is empty, too long, not UTF-8, or holds a control character."""


class SettingsError(LocalError):
    """A setting has a value that cannot be used; the text says which, and why."""


class StreamNotFound(ShmstreamError):
    """The owner has no stream with this id: it is unknown, evicted or expired."""


class StreamReplaced(ShmstreamError):
    """The stream with this id is of another generation than the caller asked for.

    Attributes:
        generation: the generation of the stream now (16 hexadecimal digits).
    """

    def __init__(self, generation: str) -> None:
        super().__init__(f'stream was replaced by generation {generation}')
        self.generation = generation


class OffsetLost(ShmstreamError):
    """The ring has dropped the byte at this offset.

    Attributes:
        offset: the stream offset (bytes) that the caller asked for.
        dropped_prefix: the first stream offset that the ring still holds.
        total_bytes: bytes that have been written to the stream so far.
    """

    def __init__(self, offset: int, dropped_prefix: int, total_bytes: int) -> None:
        super().__init__(
            f'offset {offset} is lost: the stream holds'
            f' {dropped_prefix} to {total_bytes}'
        )
        self.offset = offset
        self.dropped_prefix = dropped_prefix
        self.total_bytes = total_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.offset, self.dropped_prefix, self.total_bytes)


class FollowCut(ShmstreamError):
    """The follower was let go before the stream's end.

    The reader can resume at ``offset``, in another process if this one is leaving.

    Attributes:
        offset: the first stream offset (bytes) that was not delivered.
    """

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f'follower let go at offset {offset}: {why}')
        self.offset = offset
        self._why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.offset, self._why)


class NoRoom(ShmstreamError):
    """Sessions, memory or disk are used up, and no finished stream can be evicted.

    Attributes:
        retry_after: seconds after which a new attempt makes sense.
        soon: whether a stream that was just evicted may free its memory in a moment.
    """

    retry_after = 2
    soon = False


class LayoutMismatch(ShmstreamError):
    """A file is not a segment, or a segment of another layout version or size."""


class DirectoryRefused(ShmstreamError):
    """The runtime directory is not private to this user, or others use it."""


class SupervisorUnavailable(ShmstreamError):
    """No supervisor answered within the time allowed.

    Attributes:
        retry_after: seconds after which a new attempt makes sense.
    """

    retry_after = 2


class ControlError(ShmstreamError):
    """The supervisor refused a request as malformed, or a frame was damaged."""
