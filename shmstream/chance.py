"""Unguessable random numbers, without the standard library's module ``secrets``.

Many projects have a ``secrets.py`` of their own, and gunicorn puts the working
directory first on Python's path, so ``import secrets`` would find that file.
"""

from __future__ import annotations

import os


def random_bits(number: int) -> int:
    """Return a number of this many bits, from the kernel."""
    # ``random.SystemRandom`` does the same, and takes a millisecond to import.
    size = (number + 7) // 8
    return int.from_bytes(os.urandom(size)) >> (size * 8 - number)
