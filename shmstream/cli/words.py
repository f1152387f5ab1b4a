r"""Texts for people: safe on a terminal, and of a known width.

An id is chosen by a client, and a stream's bytes by a model. Neither may drive the
operator's terminal, so whatever a terminal would obey or not show is spelled out.
"""

from __future__ import annotations

import re
import unicodedata

_OBEYED = frozenset({'Cc', 'Cf', 'Cs', 'Zl', 'Zp'})
"""The categories of characters that a terminal obeys, or does not show."""

_PLAIN = re.compile(r'[ -~]*')


def safe(text: str, keep: str = '') -> str:
    r"""Return the text with each control or format character as ``\x1b`` or ``\u202e``.

    Args:
        text: any text.
        keep: characters that stay as they are.
    """
    if _PLAIN.fullmatch(text):
        return text
    return ''.join(
        character
        if character in keep or unicodedata.category(character) not in _OBEYED
        else _spelled(character)
        for character in text
    )


def _spelled(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return {'\n': '\\n', '\r': '\\r', '\t': '\\t'}.get(character, f'\\x{code:02x}')
    return f'\\u{code:04x}' if code < 0x10000 else f'\\U{code:08x}'


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    if _PLAIN.fullmatch(text):
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == 'Me':
        return 0
    return 2 if unicodedata.east_asian_width(character) in 'WF' else 1


def cut(text: str, columns: int) -> str:
    """Return the text, shortened to these columns; an ellipsis says so."""
    if width(text) <= columns:
        return text
    kept, used = [], 0
    for character in text:
        used += _columns(character)
        if used > columns - 1:
            break
        kept.append(character)
    return ''.join(kept) + '…' if columns > 0 else ''


def fitted(text: str, columns: int, right: bool = False) -> str:
    """Return the text in exactly these columns, cut or filled with blanks."""
    text = cut(text, columns)
    blanks = ' ' * (columns - width(text))
    return blanks + text if right else text + blanks


def age(seconds: float) -> str:
    """Return a span for people, in its two largest units: ``2h 5m``."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f'{whole}s'
    if whole < 3600:
        return f'{whole // 60}m {whole % 60}s'
    if whole < 86400:
        return f'{whole // 3600}h {whole % 3600 // 60}m'
    return f'{whole // 86400}d {whole % 86400 // 3600}h'


def owner_name(owner: str, digits: int = 8) -> str:
    """Return the short digest of an owner; ``-`` for the one that has no key.

    Args:
        owner: the digest in hexadecimal digits; empty if it is not known.
        digits: how many of them are shown.
    """
    return owner[:digits] if owner.strip('0') else '-'


def counted(number: int, one: str, several: str = '') -> str:
    """Return ``1 stream`` or ``2 streams``."""
    return f'{number} {one if number == 1 else several or one + "s"}'
