"""Stands in for a model: slow, word by word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator


async def words(text: str) -> AsyncIterator[str]:
    """Yield the words of a text."""
    for word in text.split():
        await asyncio.sleep(0.02)
        yield word


async def events(text: str) -> AsyncIterator[str]:
    """Yield the words of a text as server-sent events."""
    async for word in words(text):
        yield f'data: {word}\n\n'


def words_in_thread(text: str) -> Iterator[str]:
    """Yield the words of a text; blocks."""
    for word in text.split():
        time.sleep(0.02)
        yield word


def events_in_thread(text: str) -> Iterator[str]:
    """Yield the words of a text as server-sent events; blocks."""
    for word in words_in_thread(text):
        yield f'data: {word}\n\n'
