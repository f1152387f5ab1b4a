"""Exceptions, named for the state that the caller met.

``LocalError`` means that the API was misused. Every other exception states a fact about
the stream or the deployment, which a correct program has to expect. Numbers that a
caller needs in order to go on (offsets, limits, seconds) are attributes, not only text.
"""

from __future__ import annotations

from typing import Any


class ShmstreamError(Exception):
    """Base of every error that this package raises on purpose.

    Example::

        try:
            streams.open('unknown')
        except shmstream.ShmstreamError as ex:
            print(ex)
    """


class LocalError(ShmstreamError, ValueError):
    """The call itself is wrong: a bad argument, or an object used after its end.

    Example::

        try:
            consumer.follow(-1)
        except shmstream.LocalError as ex:
            print(ex)
    """


class InvalidConversationId(LocalError):
    """The id is empty, too long, not UTF-8, or holds a control character.

    Example::

        try:
            streams.open('')
        except shmstream.InvalidConversationId as ex:
            print(ex)
    """


class SettingsError(LocalError):
    """A setting has a value that cannot be used; the text says which, and why.

    Example::

        os.environ['SHMSTREAM_DIR'] = 'relative/place'
        try:
            shmstream.Streams.attach()
        except shmstream.SettingsError as ex:
            print(ex)
    """


class StreamNotFound(ShmstreamError):
    """The owner has no stream with this id: it is unknown, evicted or expired.

    Example::

        try:
            streams.open('unknown')
        except shmstream.StreamNotFound as ex:
            print(ex)
    """


class StreamReplaced(ShmstreamError):
    """The stream with this id is of another generation than the caller asked for.

    Attributes:
        generation: the generation of the stream now (16 hexadecimal digits).

    Example::

        try:
            streams.open('chat-1', generation='0123456789abcdef')
        except shmstream.StreamReplaced as ex:
            print('the stream is now', ex.generation)
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

    Example::

        try:
            chunk = consumer.read(0)
        except shmstream.OffsetLost as ex:
            chunk = consumer.read(ex.dropped_prefix)
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

    Example::

        try:
            chunks = list(consumer.follow())
        except shmstream.FollowCut as ex:
            print('resume at', ex.offset)
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
        cause: what is used up: ``'sessions'``, ``'memory'``, ``'owner'`` (the share of
            this owner), ``'processes'``, or ``'system'`` (something of the machine).

    Example::

        try:
            producer = streams.create('chat-2')
        except shmstream.NoRoom as ex:
            print('ask again in', ex.retry_after, 'seconds')
    """

    retry_after = 2
    soon = False
    cause = 'system'


class LayoutMismatch(ShmstreamError):
    """A file is not a segment, or a segment of another layout version or size.

    Example::

        try:
            consumer = streams.open('chat-1')
        except shmstream.LayoutMismatch as ex:
            print('made by another version:', ex)
    """


class DirectoryRefused(ShmstreamError):
    """The runtime directory is not private to this user, or others use it.

    Example::

        try:
            streams.connect()
        except shmstream.DirectoryRefused as ex:
            print('set SHMSTREAM_DIR to another directory:', ex)
    """


class SupervisorUnavailable(ShmstreamError):
    """No supervisor answered within the time allowed.

    Attributes:
        retry_after: seconds after which a new attempt makes sense.

    Example::

        try:
            producer = streams.create('chat-2')
        except shmstream.SupervisorUnavailable as ex:
            print('ask again in', ex.retry_after, 'seconds')
    """

    retry_after = 2


class ControlError(ShmstreamError):
    """The supervisor refused a request as malformed, or a frame was damaged.

    Example::

        try:
            producer = streams.create('chat-2', capacity=1)
        except shmstream.ControlError as ex:
            print(ex)
    """
