"""Request bodies that are held: no longer than needed, and bounded in sum.

What becomes a session is read whole before the upstream is asked, so that a client that
leaves within its request begins nothing. From then on the body goes out piece by piece,
and each piece is let go of as it goes: while the answer is generated nothing is left.

What has come counts, not what is announced: to hold others up a client has to send it.
What is announced and would not fit beside that is refused before it is read; what turns
out not to fit, in the middle. And it has to go on sending, or its room is taken back::

    time that a body has left      at first and at most    the send timeout
                                   for each 16 KiB come    a second more

Where there are several owners, none of them holds more than its share: as with sessions
and memory (``supervisor.shares``), what one of them does keeps nobody else's out.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import falcon.asgi

from shmstream.asgi.stalled import looks_in
from shmstream.serving.problems import Problem

_RETRY_S = 5

_PIECE = 64 * 1024
"""Smaller ones are put together: a client may send a chunk for each byte."""

LEAST_RATE = 16 * 1024
"""Bytes a second below which a body that has had its time is not waited for."""


class Pace:
    """The time that a body has left. Entered around the reading of it.

    Looks are counted, not seconds: whoever was suspended meanwhile, the client or we,
    has all of them left.

    Args:
        timeout_s: what it has at first, and at most.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = self._left_s = timeout_s
        self._look_s = timeout_s / looks_in(timeout_s)

    def came(self, size: int) -> None:
        """So many bytes have come."""
        self._left_s = min(self._left_s + size / LEAST_RATE, self._timeout_s)

    def look(self) -> bool:
        """A look's time has passed; returns whether there is any left."""
        self._left_s -= self._look_s
        # What sums of fractions miss by is no time.
        return self._left_s > self._look_s / 100

    async def __aenter__(self) -> Self:
        self._bound = asyncio.timeout(None)
        await self._bound.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._look_s, self._look)
        return self

    def _look(self) -> None:
        if self.look():
            self._timer = self._loop.call_later(self._look_s, self._look)
        else:
            self._bound.reschedule(self._loop.time())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raises ``TimeoutError`` if no time was left."""
        self._timer.cancel()
        await self._bound.__aexit__(kind, error, traceback)


class Upload:
    """One body, whole; iterating over it takes it away. Made by ``Uploads.read``.

    Attributes:
        size: bytes that it had when it was read.
    """

    def __init__(self, uploads: Uploads, owner: bytes) -> None:
        self._uploads = uploads
        self._owner = owner
        self._pieces: deque[bytes] = deque()
        self._last = bytearray()
        self._held = 0
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Keep one more piece. Raises ``Problem`` as ``Uploads.read``."""
        self._uploads.hold(self._owner, len(piece))
        self._held += len(piece)
        self.size += len(piece)
        if not self._last and len(piece) >= _PIECE:
            self._pieces.append(piece)
            return
        self._last += piece
        if len(self._last) >= _PIECE:
            self._end_piece()

    def _end_piece(self) -> None:
        self._pieces.append(bytes(self._last))
        self._last = bytearray()

    def whole(self) -> bytes:
        """Take all of it."""
        whole = b''.join((*self._pieces, self._last))
        self.close()
        return whole

    def close(self) -> None:
        """Let go of what is left. Idempotent, and done when it is dropped."""
        self._pieces.clear()
        self._last = bytearray()
        self._uploads.let_go(self._owner, self._held)
        self._held = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._last and not self._pieces:
            self._end_piece()
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.popleft()
        self._held -= len(piece)
        self._uploads.let_go(self._owner, len(piece))
        return piece

    def __del__(self) -> None:
        self.close()


class Uploads:
    """The bodies that this worker holds.

    Args:
        limit: bytes, of all together.
        share: the part of it that one owner's may take; None: there is only one.
        timeout_s: the time that a body has before it has to have come at a rate.
    """

    def __init__(self, limit: int, share: float | None, timeout_s: float) -> None:
        self._limit = limit
        self._share = limit if share is None else max(int(share * limit), 1)
        self._timeout_s = timeout_s
        self._held = 0
        self._held_of: Counter[bytes] = Counter()

    def check(self, owner: bytes, size: int) -> None:
        """See that so many more bytes would fit now. Raises ``Problem`` as ``read``."""
        if self._held_of[owner] + size > self._share or self._held + size > self._limit:
            raise Problem(
                503, 'Too many request bodies are under way, retry later', _RETRY_S
            )

    def hold(self, owner: bytes, size: int) -> None:
        """Count so many more bytes. Raises ``Problem`` as ``read``; then none is."""
        self.check(owner, size)
        self._held += size
        self._held_of[owner] += size

    def let_go(self, owner: bytes, size: int) -> None:
        """Count so many bytes less."""
        self._held -= size
        self._held_of[owner] -= size

    async def read(
        self,
        req: falcon.asgi.Request,
        most: int,
        look: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> Upload:
        """Read a whole body.

        Args:
            req: the request.
            most: bytes that it may have.
            look: shown each piece as it comes.

        Raises:
            Problem: 413, it has more than ``most`` bytes, or than could ever be held of
                its owner; 400, it ended early; 408, it comes too slowly; 503, too much
                is held already.
        """
        owner: bytes = req.context.owner
        most = min(most, self._share)
        length = req.content_length
        if length is not None and length > most:
            raise Problem(
                413, f'The body has {length} bytes, at most {most} are allowed'
            )
        self.check(owner, length or 0)
        upload = Upload(self, owner)
        try:
            async with Pace(self._timeout_s) as pace:
                async for piece in req.stream:
                    pace.came(len(piece))
                    upload.add(piece)
                    if upload.size > most:
                        raise Problem(413, f'The body has more than {most} bytes')
                    if look is not None:
                        await look(piece)
            if getattr(req, 'gone', False) or (
                length is not None and upload.size != length
            ):
                raise Problem(400, 'The body ended early')
        except BaseException as ex:
            # The traceback may keep it for longer than the request lasts.
            upload.close()
            if isinstance(ex, TimeoutError):
                raise Problem(408, 'The body comes too slowly') from None
            raise
        return upload
