"""What can go wrong for a client beside what ``shmstream.errors`` lists.

A loss of the connection is no error: the client resumes. These errors end an iteration,
together with ``StreamNotFound``, ``StreamReplaced`` and ``OffsetLost``::

    the answer                             the error
    -------------------------------------  ------------------------------------------
    400 with ``dropped_prefix``            OffsetLost: the ring has dropped the offset
    404                                    StreamNotFound: unknown, expired or stopped
    409                                    StreamReplaced: the id has a newer stream
    502 that says why the stream failed    StreamFailed
    408, 425, 429, 502 to 504, no answer   none: asked again, then Unreachable
    any other that is no stream            Refused
    another offset than the one asked for  NotResumable
"""

from __future__ import annotations

from typing import Any

from shmstream.errors import ShmstreamError


class Refused(ShmstreamError):
    """The request was answered with an error that asking again does not mend.

    Attributes:
        status: the HTTP status.
        body: the first 64 KiB of the answer's body.
    """

    def __init__(self, status: int, message: str, body: bytes = b'') -> None:
        super().__init__(f'{status}: {message}')
        self.status = status
        self.body = body
        self._message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self._message, self.body)


class Unreachable(ShmstreamError):
    """Every attempt has failed for as long as the client was to be patient.

    The cause (``__cause__``) is the last failure. The next step of the iteration tries
    again; another process can go on with ``follow(url, offset=..., generation=...)``.

    Attributes:
        offset: the first stream offset (bytes) that was not delivered.
    """

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f'gave up at offset {offset}: {why}')
        self.offset = offset
        self._why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.offset, self._why)


class NotResumable(ShmstreamError):
    """The connection was lost, and nobody can say which bytes would be the next ones.

    Either the answer is no stream that a service keeps, or the answer to a GET does not
    begin at the offset that was asked for.
    """


class StreamFailed(ShmstreamError):
    """The stream has failed, in a format in which a failure cannot be told."""


class EventTooLong(ShmstreamError):
    """An event has more bytes than the client was to hold."""
