"""Reads with either client, step by step, in the thread of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import blockbuster

from shmstream.client import AsyncFollowing, Event, Following, astream, follow

T = TypeVar('T')


class InThread:
    """A ``Following``, with the steps that tests need."""

    def __init__(self, url: str, **options: Any) -> None:
        self.following: Following | AsyncFollowing = follow(url, **options)

    def each(self, shape: str) -> Iterator[Any]:
        """Iterate over ``raw``, ``raw_events``, ``events`` or ``json``."""
        iterator: Iterator[Any] = getattr(self.following, shape)()
        return iterator

    def events(self) -> Iterator[Event]:
        """Iterate over the events."""
        return self.each('events')

    def raw(self) -> bytes:
        """The rest of the stream."""
        return b''.join(self.each('raw'))

    def stop(self) -> None:
        """Stop the stream."""
        assert isinstance(self.following, Following)
        self.following.stop()

    def close(self) -> None:
        """Hang up."""
        assert isinstance(self.following, Following)
        self.following.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class OnLoop(InThread):
    """An ``AsyncFollowing``: each step is run on a loop that nothing may block."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.following = astream(url, **options)

    def run(self, work: Callable[[AsyncFollowing], Any]) -> Any:
        """Await what this function returns."""
        assert isinstance(self.following, AsyncFollowing)
        followed = self.following

        async def awaited() -> Any:
            return await work(followed)

        with blockbuster.blockbuster_ctx('shmstream'):
            return self._runner.run(awaited())

    def each(self, shape: str) -> Iterator[Any]:
        iterator: AsyncIterator[Any] = getattr(self.following, shape)()
        end = object()
        while (step := self.run(lambda _: anext(iterator, end))) is not end:
            yield step

    def stop(self) -> None:
        self.run(lambda followed: followed.stop())

    def close(self) -> None:
        self.run(lambda followed: followed.aclose())
        self._runner.close()


KINDS: dict[str, type[InThread]] = {'thread': InThread, 'loop': OnLoop}
