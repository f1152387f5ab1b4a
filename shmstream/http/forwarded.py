"""The headers that tell the upstream about the client and the service's own address.

::

    X-Forwarded-For      the values that arrived, and the address of the peer
    X-Forwarded-Host     the value that arrived, or the value of ``Host``
    X-Forwarded-Proto    http or https, as the scope of the request says
    X-Forwarded-Prefix   the path that the service is found below (``http.prefix``)

The upstream can make URLs of these headers that lead to the service. The values that
arrived are those of a proxy in front of the service. A client can forge such values as
well, but then only the URLs that this client gets are wrong.
"""

from __future__ import annotations

from typing import Any

from shmstream.http.prefix import prefix_of
from shmstream.upstream.source import Headers, header

_OWN = ('x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto')
_PREFIX = 'x-forwarded-prefix'

_NOT_BY_UNDERSCORE = frozenset(
    {
        'api-key',
        'content-length',
        'path-info',
        'proxy-authorization',
        'remote-addr',
        'remote-user',
        'script-name',
        'transfer-encoding',
        'x-api-key',
        'x-real-ip',
        'x-remote-user',
    }
)
"""Names that are not passed on if they are written with underscores, as all names that
begin with ``x-forwarded-``. Many servers make one variable of both spellings
(``HTTP_X_FORWARDED_FOR``), and would take a value of the client's for one of the
service's. gunicorn may even take ``SCRIPT_NAME`` and ``PATH_INFO`` for the variables of
these names."""


def forwarded(scope: Any, headers: Headers) -> Headers:
    """Return the headers with ``X-Forwarded-*``, and without imitations of these.

    Args:
        scope: the ASGI scope of the request, without its prefix.
        headers: the request's headers, with names in lower case.
    """
    kept = [
        (name, value)
        for name, value in headers
        if name not in _OWN
        and name != _PREFIX
        and not ('_' in name and _imitates(name.replace('_', '-')))
    ]
    client = scope.get('client')
    chain = [value for name, value in headers if name == _OWN[0]]
    # The peer of a Unix socket has no address.
    if client and client[0]:
        chain.append(str(client[0]))
    if chain:
        kept.append((_OWN[0], ', '.join(chain)))
    host = header(headers, _OWN[1]) or header(headers, 'host')
    if host:
        kept.append((_OWN[1], host))
    scheme = {'ws': 'http', 'wss': 'https'}.get(scope['scheme'], scope['scheme'])
    kept.append((_OWN[2], scheme))
    prefix = prefix_of(scope)
    if prefix:
        kept.append((_PREFIX, prefix))
    return kept


def _imitates(name: str) -> bool:
    """Whether this name, with its underscores replaced, is one of ours."""
    return name in _NOT_BY_UNDERSCORE or name.startswith('x-forwarded-')
