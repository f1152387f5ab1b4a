"""The address of the upstream, as ``SHMSTREAM_UPSTREAM`` gives it.

::

    http://host:8080             host and port
    https://host/base            request targets are appended to /base, and may not
                                 climb above it
    http://host/v1               the same as without /v1, which targets contain already
    https://host/?api-version=1  each request gets this query; it replaces parameters of
                                 the same name
    unix:/run/model.sock         a Unix socket; a query may follow

If an answer refers to the upstream's own address, ``Address.ours`` returns the path of
the same thing at the service. Otherwise a client that follows the reference would
bypass the service, or ask a host that it cannot reach.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus, urlsplit

from shmstream.upstream.source import TargetRefused

_UNIX = 'unix:'
_MOST_UNIX_PATH = 107
"""Bytes of the longest name of a Unix socket that the kernel accepts."""

_UNIX_ORIGIN = 'http://localhost'
"""Scheme and ``Host`` of requests to a server on a Unix socket; curl uses the same."""

_PORTS = {'http': 80, 'https': 443}
_REFRESH = re.compile(r'(\s*[0-9.]*\s*[;,]?\s*(?:url\s*=\s*)?)(.*)', re.I | re.S)
_NOT_KEPT = re.compile(r'[#\t\r\n]')
"""A fragment is not sent, and parsers of URLs drop the other characters: two dots with
a tab between them would become a dot segment."""

_DIVIDERS = re.compile(r'[/\\]')
_URL_CHARACTERS = re.compile(r'[\x21-\x7e]+')


@dataclass(frozen=True)
class Address:
    """An upstream's address.

    Attributes:
        origin: scheme, host and port, such as ``http://host:8080``.
        path: the path that request targets are appended to; it has no slash at its end.
        query: the query that each request gets, without its question mark.
        unix_path: the path of the Unix socket; None for TCP.
    """

    origin: str
    path: str = ''
    query: str = field(default='', repr=False)
    unix_path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse the setting. Raises ``ValueError``."""
        if text.startswith(_UNIX):
            return cls._parse_unix(text)
        url = urlsplit(text)
        if url.scheme not in _PORTS or not url.hostname:
            raise ValueError(
                'must be an http:// or https:// URL, or unix:/path, not '
                + repr(_without_query(text))
            )
        if url.fragment or url.username is not None or '#' in text:
            raise ValueError('must have no fragment or user name')
        if not _URL_CHARACTERS.fullmatch(text):
            raise ValueError('must be ASCII without spaces; percent-encode the rest')
        _ = url.port  # raises ValueError if it is not a port
        path = url.path.rstrip('/')
        # OpenAI's base URLs end in /v1, but here request targets begin with it.
        path = path.removesuffix('/v1').rstrip('/')
        return cls(f'{url.scheme}://{url.netloc}', path, url.query)

    @classmethod
    def _parse_unix(cls, text: str) -> Address:
        path, _, query = text.removeprefix(_UNIX).partition('?')
        if not path.startswith('/') or '\0' in path:
            raise ValueError(f'a Unix socket is unix:/absolute/path, not {path!r}')
        if len(path.encode()) > _MOST_UNIX_PATH:
            raise ValueError(
                f'the path of a Unix socket has at most {_MOST_UNIX_PATH} bytes'
            )
        if query and not _URL_CHARACTERS.fullmatch(query):
            raise ValueError('must have a query in ASCII without spaces')
        return cls(_UNIX_ORIGIN, '', query, path)

    @property
    def shown(self) -> str:
        """The address without its query, which may hold a secret: for logs."""
        if self.unix_path is not None:
            return _UNIX + self.unix_path
        return self.origin + self.path

    @property
    def host(self) -> str:
        """The host without its port, in lower case."""
        return urlsplit(self.origin).hostname or ''

    def url(self, target: str) -> str:
        """Return the URL of a request target, which begins with a slash.

        Raises:
            TargetRefused: the target has a character that a URL would not keep, or
                climbs above the base path.
        """
        if _NOT_KEPT.search(target):
            raise TargetRefused(
                'The request target must not contain #, tabs or line ends'
            )
        path, mark, query = target.partition('?')
        if self.path and _climbs(path):
            # What is beside the base path may belong to others, and the request may
            # carry the service's key.
            raise TargetRefused('The request target leads above the base path')
        if self.query:
            kept = _without(query, self.query)
            query = f'{kept}&{self.query}' if kept else self.query
            mark = '?'
        return self.origin + self.path + path + mark + query

    def ours(self, reference: str, prefix: str = '') -> str:
        """Return a reference in an answer as the service's client has to follow it.

        Args:
            reference: a URL or relative reference, as in ``Location``.
            prefix: the path below which clients reach the service.

        Returns:
            A path at the service if the reference names the upstream's own address;
            else the reference unchanged.
        """
        try:
            named = urlsplit(reference)
            own = not named.netloc or self._is_own(named.scheme, named.netloc)
        except ValueError:
            return reference
        if not own or (named.scheme and not named.netloc):
            return reference
        tail = reference
        if named.netloc:
            tail = reference[reference.index('//') + 2 + len(named.netloc) :]
        elif not tail.startswith('/'):
            # It is relative to the request target, which is the same at the service.
            return reference
        if not tail.startswith('/'):
            tail = '/' + tail
        tail = self._below(tail)
        if prefix and not _is_below(tail, prefix):
            tail = prefix + tail
        # A reference that begins with two slashes would name another host.
        return '/.' + tail if tail.startswith('//') else tail

    def _is_own(self, scheme: str, netloc: str) -> bool:
        own = urlsplit(self.origin)
        named = urlsplit(f'{scheme or own.scheme}://{netloc}')
        return (
            named.scheme.lower() == own.scheme.lower()
            and named.hostname == own.hostname
            and (named.port or _PORTS.get(named.scheme))
            == (own.port or _PORTS[own.scheme])
        )

    def _below(self, tail: str) -> str:
        """Return a target without the path and query that ``url`` adds to it."""
        tail, hash_mark, fragment = tail.partition('#')
        path, mark, query = tail.partition('?')
        if self.path and _is_below(path, self.path):
            path = path[len(self.path) :] or '/'
        if self.query and mark:
            # The fixed query may be a secret; ``url`` adds it to the next request.
            query = _without(query, self.query)
            mark = '?' if query else ''
        return path + mark + query + hash_mark + fragment

    def ours_in_refresh(self, value: str, prefix: str = '') -> str:
        """Return the value of a ``Refresh`` header as the service's client needs it."""
        match = _REFRESH.fullmatch(value)
        if match is None or not match[2]:
            return value
        quote = match[2][0] if match[2][0] in '\'"' else ''
        return match[1] + quote + self.ours(match[2].strip(quote), prefix) + quote


def _climbs(path: str) -> bool:
    """Return whether a path leads above its beginning, for any server.

    Servers differ in whether an encoded slash or a backslash divides segments, whether
    an empty segment counts, and whether a parameter belongs to a segment. Each is
    counted here in the way that leads higher.
    """
    depth = 0
    for segment in path.split('/'):
        counted = False
        for part in _DIVIDERS.split(unquote(segment, 'latin-1')):
            name = part.partition(';')[0]
            if name == '..':
                depth -= 1
                if depth < 0:
                    return True
            elif name not in ('', '.') and not counted:
                depth += 1
                counted = True
    return False


def _is_below(path: str, base: str) -> bool:
    return path.startswith(base) and path[len(base) : len(base) + 1] in ('', '/', '?')


def _without_query(text: str) -> str:
    return text.partition('?')[0]


def _name(parameter: str) -> str:
    return unquote_plus(parameter.partition('=')[0])


def _without(query: str, fixed: str) -> str:
    """Return a query without the parameters whose names another query has."""
    names = {_name(parameter) for parameter in fixed.split('&')}
    return '&'.join(p for p in query.split('&') if _name(p) not in names)
