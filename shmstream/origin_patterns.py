"""The origins that ``SHMSTREAM_CORS_ORIGINS`` names.

::

    *                          every origin, and ``null``
    null                       pages without an origin: sandboxed frames, local files
    https://chat.example.org   this origin
    app://obsidian.md          this origin of an application: the host may be anything,
                               also ``.``, ``-`` or nothing
    https://*.example.org      every name below ``example.org``, but not this name
    http://localhost:*         every port, and no port
    https://*                  every host

Browsers write an origin in one way only: in lower case, without the usual port of the
scheme, and without a slash at the end. A pattern in another form would never match, so
it is refused, and the error says how browsers write the origin.
"""

from __future__ import annotations

import ipaddress
import re

ANY = '*'
NULL = 'null'

MAX_ORIGIN = 512
"""Bytes, at most, of an ``Origin`` header that can match. A host name has 253 at the
most."""

_SHAPE = re.compile(r'([a-z][a-z0-9+.-]*)://(\[[^\]]*\]|[^:/?#@\[\]]*)(?::(.*))?')
_LABEL = r'[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?'
_NAME = re.compile(rf'{_LABEL}(\.{_LABEL})*\.?')
_OTHER_HOST = re.compile(r'[!-~]*')
_NUMBER = re.compile(r'[0-9]+|0x[0-9a-f]*')
_PORT = re.compile(r'0|[1-9][0-9]{0,4}')
_USUAL_PORTS = {'http': '80', 'https': '443'}
_NO_PAGES = frozenset({'about', 'blob', 'data', 'javascript', 'ws', 'wss'})
_MAX_NAME = 253


class OriginPatterns:
    """A set of origins, which patterns describe.

    Args:
        patterns: patterns that ``check_pattern`` has returned.

    Attributes:
        some: whether there is any pattern.
    """

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.some = bool(patterns)
        self._all = ANY in patterns
        self._exact = frozenset(p.encode() for p in patterns if '*' not in p)
        wild = [_compiled(p) for p in patterns if '*' in p and p != ANY]
        self._wild = [re.compile(p.encode()) for p in wild]

    def names(self, origin: bytes | None) -> bool:
        """Whether a pattern matches this value of an ``Origin`` header."""
        if self._all:
            return True
        if origin is None or len(origin) > MAX_ORIGIN:
            return False
        return origin in self._exact or any(p.fullmatch(origin) for p in self._wild)


def _compiled(pattern: str) -> str:
    scheme, host, port = _parts(pattern)
    found = rf'{re.escape(scheme)}://'
    if host == '*' and scheme not in _USUAL_PORTS:
        found += r'[^:/?#@]*'
    elif host == '*':
        found += r'(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)'
    elif host.startswith('*.'):
        found += r'(?:[a-z0-9_-]+\.)+' + re.escape(host[2:])
    else:
        found += re.escape(host)
    if port == '*':
        return found + r'(?::[0-9]{1,5})?'
    return found + ('' if port is None else f':{port}')


def _parts(pattern: str) -> tuple[str, str, str | None]:
    match = _SHAPE.fullmatch(pattern)
    if match is None:
        raise ValueError(
            'must be origins like https://example.org, with no path after them,'
            f' not {pattern!r}'
        )
    return match[1], match[2], match[3]


def check_pattern(pattern: str) -> str:
    """Return the pattern, after a check.

    Raises:
        ValueError: the pattern matches no origin that a browser sends. The message says
            why.
    """
    if pattern in (ANY, NULL):
        return pattern
    if pattern != pattern.lower():
        raise ValueError(f'browsers write origins in lower case, not {pattern!r}')
    scheme, host, port = _parts(pattern)
    if scheme in _NO_PAGES:
        raise ValueError(f'no page has an origin that begins with {scheme}://')
    if scheme == 'file':
        if pattern != 'file://':
            raise ValueError('the origin of a local file is null, or file:// alone')
        return pattern
    _check_host(scheme, host, pattern)
    _check_port(scheme, port, pattern)
    return pattern


def _check_host(scheme: str, host: str, pattern: str) -> None:
    if host == '*':
        return
    if host.startswith('['):
        if _written_out(host[1:-1], 6) != host[1:-1]:
            raise ValueError(f'not an IPv6 address as browsers write it: {pattern!r}')
        return
    name = host.removeprefix('*.')
    if '*' in name:
        raise ValueError(
            'a * may stand for the whole host, for its first names (*.example.org)'
            f' or for the port, not as in {pattern!r}'
        )
    if not name.isascii():
        raise ValueError(f'browsers write names in ASCII (xn--...), not {pattern!r}')
    # The host of an application's own scheme is no name of a machine.
    shape = _NAME if scheme in _USUAL_PORTS else _OTHER_HOST
    if len(name) > _MAX_NAME or not shape.fullmatch(name):
        raise ValueError(f'must be origins like https://example.org, not {pattern!r}')
    if shape is _OTHER_HOST:
        return
    # Browsers take a name that ends with a number for an IPv4 address.
    in_numbers = _NUMBER.fullmatch(name.rstrip('.').rpartition('.')[2])
    if in_numbers and (host != name or _written_out(name, 4) != name):
        raise ValueError(f'not an IPv4 address as browsers write it: {pattern!r}')


def _written_out(address: str, version: int) -> str | None:
    """Return the short form of an address; None if it is no address of this version.

    A zone (``fe80::1%eth0``) is never part of an origin.
    """
    if '%' in address:
        return None
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return str(found) if found.version == version else None


def _check_port(scheme: str, port: str | None, pattern: str) -> None:
    if port is None or port == '*':
        return
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f'not a port from 0 to 65535, or *: {pattern!r}')
    if _USUAL_PORTS.get(scheme) == port:
        raise ValueError(f'browsers leave :{port} out after {scheme}://: leave it out')
