"""A follower whose bytes are framed anew before they are sent."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol, Self

from shmstream.follower import Follower


class Framer(Protocol):
    """Turns the bytes of a stream into what is sent."""

    @property
    def beat_s(self) -> float:
        """Seconds of silence after which ``beat`` is sent."""

    @property
    def beat(self) -> bytes:
        """What is sent in silence."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what is to be sent, possibly nothing."""

    def end(self) -> bytes:
        """Return what is to be sent when the stream has ended."""


class FramedFollower:
    """Iterates over what a framer makes of a stream, as ``Follower`` does.

    The framer also tells how the stream has ended, whether or not its bytes do.

    Args:
        follower: reads the stream.
        framer: frames what it reads.
    """

    untold_failure = ''

    def __init__(self, follower: Follower, framer: Framer) -> None:
        self._follower = follower
        self._framer = framer
        self._ended = False
        self._sent_at = time.monotonic()

    @property
    def offset(self) -> int:
        """The next byte of the stream that it will read."""
        return self._follower.offset

    def _framed(self, data: bytes) -> bytes:
        """Return what is to be sent of these bytes; none are a silence.

        Bytes that become nothing are a silence for the client, too.
        """
        out, now = self._framer.feed(data) if data else b'', time.monotonic()
        if not out and (not data or now - self._sent_at >= self._framer.beat_s):
            out = self._framer.beat
        if out:
            self._sent_at = now
        return out

    def _end(self) -> bytes:
        """Return what tells the end, once; then nothing."""
        if self._ended:
            return b''
        self._ended = True
        return self._framer.end()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """As ``Follower``."""
        for data in self._follower:
            if framed := self._framed(data):
                return framed
        if framed := self._end():
            return framed
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """As ``Follower``."""
        async for data in self._follower:
            if framed := self._framed(data):
                return framed
        if framed := self._end():
            return framed
        raise StopAsyncIteration

    async def deliver(
        self,
        send: Callable[[bytes], Awaitable[object]],
        write: Callable[[bytes], bool] | None = None,
    ) -> None:
        """As ``Follower``."""
        # What ``write`` has not taken is framed already when ``send`` gets the bytes.
        framed: list[bytes] = []

        async def send_framed(data: bytes) -> None:
            out = framed.pop() if framed else self._framed(data)
            if out:
                await send(out)

        def write_framed(data: bytes) -> bool:
            assert write is not None
            out = self._framed(data)
            if not out or write(out):
                return True
            framed.append(out)
            return False

        await self._follower.deliver(
            send_framed, None if write is None else write_framed
        )
        if out := self._end():
            await send(out)

    def close(self) -> None:
        """Let go of the stream. Idempotent."""
        self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
