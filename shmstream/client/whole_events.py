r"""The whole events that have arrived, and the offset of what has been handed out.

An offset is only good for resuming if it is that of the bytes which the caller has
*got*, and if an event ends there. So bytes that do not end an event yet are held back,
and forgotten when the connection is lost: the server sends them again::

    received     data: 1\n\n data: 2\n\n data: 3\n\n dat
                |---------||-----------------||---|
                handed out  ready              held back
                          ^ offset            ^ where to resume, once all is handed out
"""

from __future__ import annotations

from collections.abc import Iterable

from shmstream.client.errors import EventTooLong
from shmstream.dialects.framing import Framing
from shmstream.dialects.incoming import Incoming
from shmstream.dialects.splitter import first_end

_NEVER = 1 << 62
"""The splitter is to hold back an event of any length: what it passes on is whole."""


class WholeEvents:
    """Takes the bytes of answer after answer; hands out whole events.

    Args:
        offset: the stream offset of the first byte that will arrive.
        most: bytes of an unfinished event that are held, at most.

    Attributes:
        offset: the stream offset after the last byte that was handed out.
        said_over: whether the stream has said in its own language that it is over.
    """

    def __init__(self, offset: int, most: int) -> None:
        self.offset = offset
        self.said_over = False
        self._most = most
        self._incoming: Incoming | None = None
        self._held = 0
        self._block = b''
        self._at = 0

    @property
    def framing(self) -> Framing:
        """How the events end; opaque while no answer has begun."""
        return Framing.OPAQUE if self._incoming is None else self._incoming.framing

    @property
    def ready(self) -> bool:
        """Whether there is something to hand out."""
        return self._at < len(self._block)

    def begin(self, content_type: str, headers: Iterable[tuple[str, str]]) -> None:
        """An answer begins, at the offset after all that is ready."""
        known = self._incoming
        self._incoming = Incoming(content_type, headers, most_held=_NEVER)
        if known is not None and known.framing is self._incoming.framing:
            # What the earlier events have told of the dialect, the later ones may not.
            self._incoming.dialect = known.dialect
        self._held = 0

    def feed(self, data: bytes) -> None:
        """Take bytes of the answer. Nothing may be ready.

        Raises:
            EventTooLong: no event ends in more bytes than are to be held.
        """
        assert self._incoming is not None
        whole = self._incoming.feed(data)
        self._held += len(data) - len(whole)
        self.said_over = self.said_over or self._incoming.over
        if whole:
            # What is held by now is looked at with the next bytes: these come first.
            self.put(whole)
        elif self._held > self._most:
            raise EventTooLong(
                f'more than {self._most} bytes after offset {self.offset} end no event'
            )

    def put(self, block: bytes) -> None:
        """Make a block ready to be handed out. Nothing may be ready."""
        self._block, self._at = block, 0

    def held(self) -> bytes:
        """Return what is held back, because the answer has ended.

        The next ``begin`` forgets it.
        """
        return b'' if self._incoming is None else self._incoming.rest(clean=True)

    def take(self) -> bytes:
        """Hand out one event, with the comments before it."""
        return self._hand_out(first_end(self._block, self._at, self.framing))

    def take_all(self) -> bytes:
        """Hand out everything that is ready, in one piece."""
        return self._hand_out(len(self._block))

    def _hand_out(self, end: int) -> bytes:
        taken = self._block[self._at : end]
        self._at = end
        self.offset += len(taken)
        return taken
