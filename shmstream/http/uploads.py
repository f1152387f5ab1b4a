"""Request bodies that are held in memory: as briefly as possible, and bounded in sum.

The body of a POST that begins a stream is read whole before the upstream is asked, so
that a client that leaves during its request begins no stream. Then the body is sent
upstream piece by piece, and each piece is dropped when it is sent. So while the answer
is generated, nothing of the body is left in memory.

Only the bytes that have arrived count against the bound, and not the announced length,
so that a client cannot take up room without sending. A body is refused before it is
read if its announced length does not fit. It is refused while it is read if more bytes
arrive than fit. A client must also keep sending, or its body is dropped
(``asgi.body_pace``).

If there are several owners, no owner can hold more than its share, so that no owner can
keep out the bodies of another. ``supervisor.shares`` does the same for streams and
memory.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Self

import falcon.asgi

from shmstream.asgi.body_pace import Pace
from shmstream.serving.problems import Problem

MAX_BODY = 64 << 20
"""The largest body of a POST that begins a stream, because such a body is held in
memory until the upstream has taken it."""

_RETRY_S = 5

_PIECE = 64 * 1024
"""Pieces of fewer bytes are joined, because a client may send one byte per chunk."""


class Upload:
    """One whole body. Iterating over it removes its pieces. Made by ``Uploads.read``.

    Attributes:
        size: the bytes of the whole body, removed ones included.
    """

    def __init__(self, uploads: Uploads, owner: bytes) -> None:
        self._uploads = uploads
        self._owner = owner
        self._pieces: deque[bytes] = deque()
        self._last = bytearray()
        self._held = 0
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Add a piece. Raises ``Problem`` as ``Uploads.read``."""
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
        """Return the whole body, and remove it from here."""
        whole = b''.join((*self._pieces, self._last))
        self.close()
        return whole

    def close(self) -> None:
        """Drop the pieces that are left. Idempotent; also done at deletion."""
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
        limit: bytes of all bodies together.
        share: the part of ``limit`` that one owner may take; None: there is only one
            owner.
        timeout_s: seconds that a body has at first; see ``Pace``.
    """

    def __init__(self, limit: int, share: float | None, timeout_s: float) -> None:
        self._limit = limit
        self._share = limit if share is None else max(int(share * limit), 1)
        self._timeout_s = timeout_s
        self._held = 0
        self._held_of: Counter[bytes] = Counter()

    def check(self, owner: bytes, size: int) -> None:
        """Raise ``Problem`` as ``read`` if ``size`` more bytes do not fit now."""
        if self._held_of[owner] + size > self._share or self._held + size > self._limit:
            raise Problem(
                *(503, 'Too many request bodies are under way, retry later', _RETRY_S),
                cause='uploads',
            )

    def hold(self, owner: bytes, size: int) -> None:
        """Count ``size`` more bytes, or raise ``Problem`` as ``read``."""
        self.check(owner, size)
        self._held += size
        self._held_of[owner] += size

    def let_go(self, owner: bytes, size: int) -> None:
        """Count ``size`` bytes less."""
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
            most: bytes that the body may have.
            look: is called with each piece when the piece has arrived.

        Raises:
            Problem: 413, the body has more than ``most`` bytes, or more than its owner
                may ever hold; 400, it ended early; 408, it comes too slowly; 503, there
                is no room for it now.
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
            # The traceback may keep the body for longer than the request lasts.
            upload.close()
            if isinstance(ex, TimeoutError):
                raise Problem(408, 'The body comes too slowly') from None
            raise
        return upload
