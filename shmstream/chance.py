"""Unguessable random numbers, without the standard library's module ``secrets``.

Many projects have a ``secrets.py`` of their own, and gunicorn puts the working
directory first on Python's path, so ``import secrets`` would find that file.
"""

from __future__ import annotations

from random import SystemRandom

random_bits = SystemRandom().getrandbits
