"""Bytes as people read them: one wording for the command line and for the doctor."""

from __future__ import annotations

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB')


def size(number: float) -> str:
    """Return bytes for people.

    Example::

        assert size(3 << 29) == '1.5 GiB'
    """
    unit = 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number /= 1024
        unit += 1
    return f'{number:.1f} {_UNITS[unit]}' if unit else f'{number:.0f} {_UNITS[0]}'
