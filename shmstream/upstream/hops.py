"""Headers that concern one connection, and must not be passed on."""

from __future__ import annotations

from shmstream.upstream.source import Headers

HOP_BY_HOP = frozenset(
    {
        'connection',
        'expect',
        'keep-alive',
        'proxy-authenticate',
        'proxy-authorization',
        'proxy-connection',
        'te',
        'trailer',
        'transfer-encoding',
        'upgrade',
    }
)
"""Headers that concern one connection and not the message (RFC 9110, section 7.6.1).
``Expect`` is among them, because the service's own server has already answered it when
the service reads the body."""


def end_to_end(headers: Headers) -> Headers:
    """Return the headers without those that concern one connection."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == 'connection'
        for token in value.split(',')
    }
    drop = HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name.lower() not in drop]
