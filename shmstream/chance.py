"""Numbers that nobody guesses, without the standard library's module ``secrets``.

A project's own ``secrets.py`` is common, gunicorn has Python look in the working
directory first, and serves beside such a file itself: it needs ``random`` only.
"""

from __future__ import annotations

from random import SystemRandom

random_bits = SystemRandom().getrandbits
