"""From the text of an environment variable to the value of a setting.

A parser takes the text without blanks around it, and raises ``ValueError`` with what
the value must be. The documentation says the limits of a setting in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shmstream.chat_paths import parse_chat_paths
from shmstream.host_names import check_host
from shmstream.id_from import parse_id_from
from shmstream.logs.form import parse_format, parse_ids
from shmstream.memory.directory import parse_directory
from shmstream.origin_patterns import check_pattern
from shmstream.ring.layout import MAX_CAPACITY, MIN_CAPACITY

_UNITS = {'': 1, 'KIB': 1 << 10, 'MIB': 1 << 20, 'GIB': 1 << 30}
_SIZE = re.compile(r'(\d{1,15})\s*(KiB|MiB|GiB|)', re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r'[0-9]{1,9}(\.[0-9]{1,6})?')
_MEDIA_TYPE = re.compile(r'[a-z0-9][a-z0-9.+-]*/([a-z0-9][a-z0-9.+-]*|\*)')
_COUNT = re.compile(r'[0-9]{1,12}')


@dataclass(frozen=True)
class OnDisconnect:
    """What happens to an answer that nobody listens to.

    Attributes:
        grace_s: seconds without a listener after which the answer is cancelled;
            None: it goes on to its end.
    """

    grace_s: float | None = None


def parse_on_disconnect(text: str) -> OnDisconnect:
    """Read ``continue``, ``cancel`` or ``grace=SECONDS``; raises ``ValueError``."""
    kind, _, seconds = text.strip().partition('=')
    if kind == 'continue' and not seconds:
        return OnDisconnect()
    if kind == 'cancel' and not seconds:
        return OnDisconnect(grace_s=0.0)
    if kind == 'grace':
        return OnDisconnect(grace_s=_seconds(0, 86400)(seconds))
    raise ValueError(f'must be continue, cancel or grace=SECONDS, not {text!r}')


def shown_size(size: int) -> str:
    """Return a number of bytes as a user would write it: ``4MiB``."""
    for unit, factor in (('GiB', 1 << 30), ('MiB', 1 << 20), ('KiB', 1 << 10)):
        if size and size % factor == 0:
            return f'{size // factor}{unit}'
    return str(size)


def _size(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        size = int(match[1]) * _UNITS[match[2].upper()] if match else -1
        if not least <= size <= most:
            raise ValueError(
                f'must be {shown_size(least)} to {shown_size(most)}, not {text!r}'
            )
        return size

    return parse


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        # Only plain decimals are taken, because float() also takes nan, inf and 1_0.
        number = float(text) if _DECIMAL.fullmatch(text) else -1.0
        if not least <= number <= most:
            raise ValueError(
                f'must be {least:.12g} to {most:.12g} seconds, not {text!r}'
            )
        return number

    return parse


def _count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if _COUNT.fullmatch(text) else -1
        if not least <= number <= most:
            raise ValueError(
                f'must be a whole number from {least} to {most}, not {text!r}'
            )
        return number

    return parse


def _share(text: str) -> float:
    number = float(text) if _DECIMAL.fullmatch(text) else -1.0
    if not 0 < number <= 1:
        raise ValueError(f'must be above 0 and at most 1 (such as 0.5), not {text!r}')
    return number


def _upstream(text: str) -> str:
    from shmstream.upstream.address import Address

    Address.parse(text)
    return text


def _key_header(text: str) -> str:
    names = ('Authorization', 'api-key', 'x-api-key')
    for name in names:
        if text.lower() == name.lower():
            return name
    raise ValueError(f'must be one of {", ".join(names)}, not {text!r}')


def _key(text: str) -> str:
    if not re.fullmatch(r'[\x21-\x7e]+', text):
        raise ValueError('must be printable ASCII without spaces')
    return text


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(_key(part.strip()) for part in text.split(',') if part.strip())
    if not keys:
        raise ValueError('must name at least one key')
    return keys


def _keys_file(text: str) -> tuple[str, ...]:
    try:
        lines = Path(text).read_text(encoding='ascii').splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f'cannot be read as ASCII text: {text!r}') from None
    keys = tuple(
        _key(line.strip())
        for line in lines
        if line.strip() and not line.startswith('#')
    )
    if not keys:
        raise ValueError(f'{text!r} holds no key')
    return keys


def _origins(text: str) -> tuple[str, ...]:
    return tuple(check_pattern(p.strip()) for p in text.split(',') if p.strip())


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(check_host(part.strip()) for part in text.split(',') if part.strip())
    if not hosts:
        raise ValueError('must name at least one host')
    return hosts


def _media_types(text: str) -> tuple[str, ...]:
    kinds = tuple(part.strip().lower() for part in text.split(',') if part.strip())
    for kind in kinds:
        if not _MEDIA_TYPE.fullmatch(kind):
            raise ValueError(
                f'must be media types like text/plain or audio/*, not {kind!r}'
            )
    return kinds


PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    'UPSTREAM': _upstream,
    'UPSTREAM_API_KEY': _key,
    'UPSTREAM_KEY_HEADER': _key_header,
    'UPSTREAM_CONNECT_TIMEOUT': _seconds(0.001, 3600),
    'UPSTREAM_FIRST_BYTE_TIMEOUT': _seconds(0.001, 86400),
    'DIR': parse_directory,
    'SESSION_BYTES': _size(MIN_CAPACITY, MAX_CAPACITY),
    'SESSION_TTL': _seconds(0.1, 86400 * 30),
    'GC_INTERVAL': _seconds(0.05, 86400),
    'MAX_SESSIONS': _count(1, 65_536),
    'MAX_MEMORY': _size(1 << 16, 1 << 50),
    'OWNER_SHARE': _share,
    'DRAIN': _seconds(0, 86400),
    'ON_DISCONNECT': parse_on_disconnect,
    'ID_FROM': parse_id_from,
    'CHAT': parse_chat_paths,
    'API_KEYS': _keys,
    'API_KEYS_FILE': _keys_file,
    'CORS_ORIGINS': _origins,
    'HOSTS': _hosts,
    'DEMO_RATE': _seconds(0.1, 100_000),
    'SEND_TIMEOUT': _seconds(1, 86400),
    'READER_SHARE': _share,
    'MAX_UPLOADS': _size(1 << 16, 1 << 40),
    'STREAM_TYPES': _media_types,
    'LOG_FORMAT': parse_format,
    'LOG_IDS': parse_ids,
}
"""The parser of each setting, by its name without the prefix."""
