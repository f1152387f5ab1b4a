"""The headers of an answer that its replays have as well.

By some of these headers a client knows the format of a stream
(``x-vercel-ai-ui-message-stream``). Others name the answer, for a user who asks for
help (``x-request-id``). The segment keeps the headers as lines, the most important
first::

    name: value     the name in lower case, the text in latin-1, whole lines only
"""

from __future__ import annotations

from collections.abc import Iterable

from shmstream.ring.layout import MAX_KEPT

NAMES = ('x-vercel-ai-ui-message-stream', 'x-request-id', 'request-id')
"""The kept names in order of importance. Anthropic's ``request-id`` has no ``x-``."""

PREFIXES = ('openai-', 'anthropic-')

_SOON_STALE = 'anthropic-ratelimit-'
"""These headers come last, because they describe a moment that is soon over, and an
answer has a dozen of them."""


def to_keep(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the lines of an answer's headers that the segment keeps.

    A header for which there is no room is left out. Less important headers get the room
    that more important ones leave.
    """
    found: list[tuple[int, str, str]] = []
    for name, value in headers:
        name = name.lower()
        if name in NAMES:
            found.append((NAMES.index(name), name, value))
        elif name.startswith(PREFIXES):
            stale = name.startswith(_SOON_STALE)
            found.append((len(NAMES) + stale, name, value))
    kept = b''
    for _, name, value in sorted(found, key=lambda one: one[0]):
        line = f'{name}: {value}\n'.encode('latin-1', 'replace')
        if line.count(b'\n') == 1 and len(kept) + len(line) <= MAX_KEPT:
            kept += line
    return kept


def kept(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers in the lines that ``to_keep`` has made."""
    found = []
    for line in lines.split(b'\n')[:-1]:
        name, colon, value = line.partition(b': ')
        if colon:
            found.append((name, value))
    return found
