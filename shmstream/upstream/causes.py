"""Why an upstream gave no answer, in words for the client and for the log.

The words say what went wrong and not where, because clients need not know the
upstream's address. The log line has the address as well.
"""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp

_BY_NUMBER = {
    errno.ECONNREFUSED: 'the connection was refused',
    errno.ECONNRESET: 'it reset the connection before it answered',
    errno.EPIPE: 'it hung up before it answered',
    errno.EHOSTUNREACH: 'there is no route to it',
    errno.ENETUNREACH: 'there is no route to it',
    errno.EHOSTDOWN: 'there is no route to it',
    errno.ENOENT: 'its socket is not there',
    errno.EACCES: 'its socket must not be opened',
    errno.EPERM: 'connections to it are not permitted',
    errno.EMFILE: 'no file descriptor is left for a connection',
    errno.ENFILE: 'no file descriptor is left for a connection',
    errno.EADDRNOTAVAIL: 'no local port is left for a connection',
}
_UNREADABLE = (
    ('too many headers', 'its answer has too many header fields'),
    ('too many headers received', 'its answer has too many header fields'),
    ('got more than', 'a header of its answer is too long'),
)


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, the outermost first; ten at the most."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and len(found) < 10 and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def in_words(error: BaseException) -> str:
    """Return why no answer came, as a clause that calls the upstream 'it'."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f'the proxy in between answered {error.status}'
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f'the proxy in between cannot be reached ({_of_connection(error)})'
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return 'it hung up before it answered'
    if isinstance(error, aiohttp.ClientResponseError):
        return _of_answer(error)
    if isinstance(error, aiohttp.InvalidURL):
        return 'the request target is no part of a URL'
    return _of_connection(error)


def _of_connection(error: BaseException) -> str:
    causes = chain(error)
    for cause in causes:
        if isinstance(cause, aiohttp.ClientConnectorDNSError | socket.gaierror):
            return 'its name was not found'
        if isinstance(cause, aiohttp.ClientError):
            # aiohttp's errors inherit from ``ssl.SSLError`` and lack its attributes.
            continue
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = (cause.verify_message or 'verification failed').rstrip('.')
            return f'its certificate is not trusted ({why})'
        if isinstance(cause, ssl.SSLError):
            return f'no TLS connection comes about ({_reason(cause)})'
    for cause in causes:
        words = _BY_NUMBER.get(getattr(cause, 'errno', None) or 0)
        if words is not None:
            return words
    if isinstance(error, ConnectionResetError):
        return _BY_NUMBER[errno.ECONNRESET]
    return 'the connection failed'


def _reason(error: ssl.SSLError) -> str:
    return str(error.reason or 'handshake failed').replace('_', ' ').lower()


def _of_answer(error: aiohttp.ClientResponseError) -> str:
    said = ' '.join(str(cause) for cause in chain(error)).lower()
    for part, words in _UNREADABLE:
        if part in said:
            return words
    return 'what it answered is not HTTP as it should be'
