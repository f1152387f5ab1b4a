"""Exceptions, named for the state that the caller met.

``LocalError`` marks misuse of the API; everything else is a fact about the stream or
the deployment that a correct program has to expect. Numbers that a caller needs to go
on (offsets, limits, seconds) are attributes, never only text.
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
    """A setting has a value that cannot be used; the text names it and says why."""


class StreamNotFound(ShmstreamError):
    """No session has this id: unknown, evicted, expired, or another owner's."""


class StreamReplaced(ShmstreamError):
    """The session under this id is not the generation that was asked for.

    Attributes:
        generation: the generation that is there now (16 hexadecimal digits).
    """

    def __init__(self, generation: str) -> None:
        super().__init__(f'stream was replaced by generation {generation}')
        self.generation = generation


class OffsetLost(ShmstreamError):
    """The ring has dropped the byte at this offset.

    Attributes:
        offset: the stream offset (bytes) that was asked for.
        dropped_prefix: the first stream offset that is still there.
        total_bytes: bytes that have entered the stream so far.
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
    """The follower was let go before the end; resume at ``offset`` elsewhere.

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
    """Sessions, memory or disk are used up and nothing finished can be evicted.

    Attributes:
        retry_after: seconds after which trying again makes sense.
    """

    retry_after = 2


class LayoutMismatch(ShmstreamError):
    """A file is not a segment, or one of another layout version or size."""


class DirectoryRefused(ShmstreamError):
    """The runtime directory is not private to this user, or in use by others."""


class SupervisorUnavailable(ShmstreamError):
    """No supervisor answered within the time allowed.

    Attributes:
        retry_after: seconds after which trying again makes sense.
    """

    retry_after = 2


class ControlError(ShmstreamError):
    """The supervisor refused a request as malformed, or a frame was damaged."""
