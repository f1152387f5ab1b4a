"""The prefix: the path below which clients find the service.

::

    who names the prefix                   what it means
    -------------------------------------  ---------------------------------------------
    the server (``--root-path``), by the   all requests are below this path
    scope's ``root_path``
    the environment (``SCRIPT_NAME``)      the same, as in gunicorn's other workers
    a proxy (``X-Forwarded-Prefix``)       the proxy got this request below this path

Some proxies remove the prefix before they pass a request on, and others do not. Both
are served: if a path begins with the prefix, the prefix is removed here. After that the
paths of a scope are without the prefix, and ``root_path`` is empty. Code that makes an
address puts ``prefix_of(scope)`` in front.

A client may send ``X-Forwarded-Prefix`` itself. Then only the addresses that this
client is told are wrong, because caches do not store answers with such addresses.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote_to_bytes

from shmstream.serving.request import decoded, path_below
from shmstream.url_prefix import clean_prefix

PREFIX = 'shmstream.prefix'
"""The key of the prefix in a scope."""


def prefix_of(scope: Any) -> str:
    """Return the prefix of a scope that ``Prefix.cut`` has returned: '' or '/...'."""
    prefix: str = scope.get(PREFIX, '')
    return prefix


class Prefix:
    """Finds the prefix of each request, and removes the prefix from the paths."""

    def __init__(self) -> None:
        self._own = clean_prefix(os.environ.get('SCRIPT_NAME', ''))

    def cut(self, scope: Any) -> Any:
        """Return a scope whose paths are without the prefix.

        Args:
            scope: the scope of an ASGI request or WebSocket.

        Returns:
            A new scope; the same scope if there is no prefix.
        """
        forwarded = ''
        for name, value in scope['headers']:
            if name == b'x-forwarded-prefix':
                # The first value is from the proxy that is nearest to the client.
                forwarded = clean_prefix(
                    value.decode('latin-1').partition(',')[0].strip()
                )
                break
        root = scope.get('root_path')
        own = (clean_prefix(root) if root else '') or self._own
        if not forwarded and not own:
            return scope
        # The proxy's value may already end with the service's own prefix.
        prefix = forwarded if forwarded.endswith(own) else forwarded + own
        cut = dict(scope)
        cut[PREFIX] = prefix
        cut['root_path'] = ''
        for part in dict.fromkeys((prefix, forwarded, own)):
            if part and _take_off(cut, part):
                break
        return cut


def _take_off(scope: Any, prefix: str) -> bool:
    path: str = scope['path']
    raw: bytes = (scope.get('raw_path') or b'').partition(b'?')[0]
    mount = unquote_to_bytes(prefix)
    text = mount.decode('utf-8', 'replace')
    if not path.startswith(text) or path[len(text) : len(text) + 1] != '/':
        return False
    if raw and not decoded(raw).startswith(mount + b'/'):
        return False
    below = path[len(text) :]
    if prefix == '/v1' and not below.startswith('/v1/'):
        # A proxy has removed the prefix, and this ``/v1`` is the API's own.
        return False
    scope['path'] = below
    if raw:
        scope['raw_path'] = b'/' + path_below(raw, mount)
    return True
