"""The headers of an answer that its replays have as well.

Clients know by them what a stream is (``x-vercel-ai-ui-message-stream``), or name it by
them when they ask for help (``x-request-id``). They are kept in the segment, as lines::

    name: value     lower case, latin-1; whole lines only, in order of importance
"""

from __future__ import annotations

from collections.abc import Iterable

from shmstream.ring.layout import MAX_KEPT

NAMES = ('x-vercel-ai-ui-message-stream', 'x-request-id', 'request-id')
"""In order of importance; Anthropic's request id has no ``x-``."""

PREFIXES = ('openai-', 'anthropic-')

_SOON_STALE = 'anthropic-ratelimit-'
"""They speak of the moment, and there are a dozen of them: only if there is room."""


def to_keep(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return those of an answer's headers that are kept, as they are kept.

    What there is no room for is left out, the least important first.
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
    """Return the headers that are kept in these lines."""
    found = []
    for line in lines.split(b'\n')[:-1]:
        name, colon, value = line.partition(b': ')
        if colon:
            found.append((name, value))
    return found
