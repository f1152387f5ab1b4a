"""The headers that every response with a stream has, whoever makes the response."""

from __future__ import annotations

from typing import Final

ALWAYS: Final = (
    # ``no-transform``, because nobody could resume at an offset in a body that a proxy
    # has compressed.
    (b'cache-control', b'no-store, no-transform'),
    (b'x-accel-buffering', b'no'),
    (b'x-content-type-options', b'nosniff'),
)
