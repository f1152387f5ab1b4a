"""Request targets in the forms that ASGI scopes do not show plainly.

A target may be a whole URL (``GET http://host/x``), as clients send it to a proxy. Then
the URL's host replaces ``Host`` (RFC 9112, section 3.2.2), and the URL's path is the
path of the request. Also, a scope does not tell whether an empty query had a question
mark.
"""

from __future__ import annotations

from typing import Any

from shmstream.deploy.gunicorn_insides import BARE_QUERY

_SCHEMES = (b'http://', b'https://')


def in_origin_form(scope: Any) -> Any:
    """Return the scope, or a copy with the URL's path if the target is a whole URL."""
    raw: bytes = scope.get('raw_path') or b''
    if raw[:1] == b'/':
        return scope
    scheme = next((s for s in _SCHEMES if raw[: len(s)].lower() == s), None)
    if scheme is None:
        return scope
    host, slash, path = raw[len(scheme) :].partition(b'/')
    if not host or b'@' in host or b'%' in host:
        return scope
    # The host has no percent sign, so the decoded path begins at the same place.
    decoded: str = scope['path'][len(scheme) + len(host) :] or '/'
    headers = [(n, v) for n, v in scope['headers'] if n != b'host']
    return scope | {
        'raw_path': (slash or b'/') + path,
        'path': decoded,
        'headers': [(b'host', host), *headers],
    }


def query_of(scope: Any) -> bytes:
    """Return the query with its question mark; empty if there is no question mark."""
    query: bytes = scope.get('query_string') or b''
    return b'?' + query if query or scope.get(BARE_QUERY) else b''
