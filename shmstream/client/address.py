"""The addresses of streams: with an offset, and beside the address of a POST."""

from __future__ import annotations

import re
from urllib.parse import (
    SplitResult,
    parse_qsl,
    quote,
    urlencode,
    urljoin,
    urlsplit,
    urlunsplit,
)

from shmstream.errors import LocalError

_PORTS = {'http': 80, 'https': 443}
_NOT_IN_A_URL = re.compile(r'[^\x21-\x7e]')


def checked(url: str) -> str:
    """Return the address without its fragment.

    Raises:
        LocalError: it is not the address of anything that HTTP can reach.
    """
    split = urlsplit(url)
    if split.scheme not in _PORTS or not split.hostname:
        raise LocalError(f'url: must begin with http:// or https:// and a host: {url}')
    if _NOT_IN_A_URL.search(url):
        raise LocalError(f'url: must be percent-encoded: {url}')
    try:
        split.port  # noqa: B018
    except ValueError:
        raise LocalError(f'url: the port must be a number below 65536: {url}') from None
    return urlunsplit(split._replace(fragment=''))


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address."""
    split = urlsplit(url)
    port = _PORTS.get(split.scheme, 0) if split.port is None else split.port
    return split.scheme, split.hostname or '', port


def target(url: str) -> str:
    """Return what a request line has of an address."""
    split = urlsplit(url)
    return (split.path or '/') + (f'?{split.query}' if split.query else '')


def with_query(url: str, **values: str | None) -> str:
    """Return the address with these parameters; those that are None are taken out."""
    split = urlsplit(url)
    pairs = parse_qsl(split.query, keep_blank_values=True)
    kept = [pair for pair in pairs if pair[0] not in values]
    kept += [(name, value) for name, value in values.items() if value is not None]
    return _unsplit(split, urlencode(kept, quote_via=quote))


def given(base: str, location: str) -> str | None:
    """Return the address that an answer names; None if it is of another origin.

    The client's credentials are sent to that address. They are for the server that the
    user has named, and for no other.
    """
    found = urljoin(base, location)
    return found if location and origin(found) == origin(base) else None


def beside(url: str, conv_id: str) -> str:
    """Return where the service has the stream of a conversation.

    Args:
        url: the address of a POST. What is before its ``/v1/`` is a prefix of the
            service; without a ``/v1/`` the service has no prefix.
        conv_id: the conversation's id.
    """
    split = urlsplit(url)
    prefix, found, _ = split.path.partition('/v1/')
    path = (prefix if found else '') + '/v1/stream'
    if conv_id in ('.', '..'):
        # In a path, these two would be taken for folders.
        return _unsplit(split, f'conv_id={conv_id}', path)
    return _unsplit(split, '', f'{path}/{quote(conv_id, safe="")}')


def _unsplit(split: SplitResult, query: str, path: str | None = None) -> str:
    path = split.path if path is None else path
    return urlunsplit(split._replace(path=path, query=query, fragment=''))
