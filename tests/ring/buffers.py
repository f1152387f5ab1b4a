"""Rings without files, and what a stream's bytes are at any offset."""

from __future__ import annotations

from shmstream.ring.layout import HEADER_BYTES, W_CAPACITY


def make_view(capacity: int) -> memoryview:
    """An empty ring in a bytearray."""
    view = memoryview(bytearray(HEADER_BYTES + capacity + -capacity % 8))
    view[:HEADER_BYTES].cast('Q')[W_CAPACITY] = capacity
    return view


BLOCK = 4096
_ONES = sum(1 << (64 * i) for i in range(BLOCK // 8))
_CHECKS = int.from_bytes(
    b''.join(
        ((i * 0x9E3779B1) & 0xFFFFFFFF).to_bytes(8, 'little') for i in range(BLOCK // 8)
    ),
    'little',
)


def _block(number: int) -> bytes:
    # Upper half of each word: the block, mixed; lower half: the word in it, mixed.
    mixed = (number * 0x85EBCA6B + 0x165667B1) & 0xFFFFFFFF
    return (_CHECKS + (mixed << 32) * _ONES).to_bytes(BLOCK, 'little')


def content(offset: int, size: int) -> bytes:
    """The bytes from ``offset`` on, of a stream whose every word says where it belongs.

    No two words within 2^32 blocks are the same, so that a byte from any other place or
    time shows.
    """
    first, last = offset // BLOCK, (offset + size - 1) // BLOCK
    blocks = b''.join(_block(number) for number in range(first, last + 1))
    at = offset - first * BLOCK
    return blocks[at : at + size]
