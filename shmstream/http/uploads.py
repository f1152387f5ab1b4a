"""Request bodies that are held: no longer than needed, and bounded in sum.

What becomes a session is read whole before the upstream is asked, so that a client that
leaves within its request begins nothing. From then on the body goes out piece by piece,
and each piece is let go of as it goes: while the answer is generated nothing is left.

What has come counts, not what is announced: to hold others up a client has to send it.
What is announced and would not fit beside that is refused before it is read; what turns
out not to fit, in the middle.
"""

from __future__ import annotations

from collections import deque
from typing import Self

import falcon.asgi

from shmstream.http.errors import Problem

_RETRY_S = 5

_PIECE = 64 * 1024
"""Smaller ones are put together: a client may send a chunk for each byte."""


class Upload:
    """One body, whole; iterating over it takes it away. Made by ``Uploads.read``.

    Attributes:
        size: bytes that it had when it was read.
    """

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._pieces: deque[bytes] = deque()
        self._last = bytearray()
        self._held = 0
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Keep one more piece. Raises ``Problem`` as ``Uploads.read``."""
        self._uploads.hold(len(piece))
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
        self._uploads.held -= self._held
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
        self._uploads.held -= len(piece)
        return piece

    def __del__(self) -> None:
        self.close()


class Uploads:
    """The bodies that this worker holds.

    Args:
        limit: bytes, of all together.

    Attributes:
        held: bytes that have come and have not been let go of.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def check(self, size: int) -> None:
        """See that so many more bytes would fit now. Raises ``Problem`` as ``read``."""
        if self.held + size > self._limit:
            raise Problem(
                503, 'Too many request bodies are under way, retry later', _RETRY_S
            )

    def hold(self, size: int) -> None:
        """Count so many more bytes. Raises ``Problem`` as ``read``; then none is."""
        self.check(size)
        self.held += size

    async def read(self, req: falcon.asgi.Request, most: int) -> Upload:
        """Read a whole body.

        Raises:
            Problem: 413, it has more than ``most`` bytes, or than could ever be held;
                400, it ended early; 503, too much is held already.
        """
        most = min(most, self._limit)
        length = req.content_length
        if length is not None and length > most:
            raise Problem(
                413, f'The body has {length} bytes, at most {most} are allowed'
            )
        self.check(length or 0)
        upload = Upload(self)
        try:
            async for piece in req.stream:
                upload.add(piece)
                if upload.size > most:
                    raise Problem(413, f'The body has more than {most} bytes')
            if getattr(req, 'gone', False) or (
                length is not None and upload.size != length
            ):
                raise Problem(400, 'The body ended early')
        except BaseException:
            # The traceback may keep it for longer than the request lasts.
            upload.close()
            raise
        return upload
