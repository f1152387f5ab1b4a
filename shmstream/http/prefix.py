"""The prefix: the path below which clients find the service.

::

    who names the prefix                   what it means
    -------------------------------------  ---------------------------------------------
    the server (``--root-path``), by the   all requests are below this path
    scope's ``root_path``
    the environment (``SCRIPT_NAME``)      the same, as in gunicorn's other workers
    a proxy (``X-Forwarded-Prefix``)       the proxy got this request below this path,
                                           and has removed it

Code that makes an address puts ``prefix_of(scope)`` in front: the proxy's part and then
the operator's.

Only the operator's part is removed from the path of a request, if the path begins with
it: some proxies remove it before they pass a request on, and others do not. After that
``root_path`` is empty. The header decides no path, for two reasons. A path of the
upstream may begin with the same name (``/api/chat``). And a client can send the header
itself, and could reach paths by it that a rule of the proxy denies. So with a forged
header only the addresses that this client is told are wrong. Their answers have
``Vary: X-Forwarded-Prefix``, so that no cache gives them to other clients.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote_to_bytes

from shmstream.serving.request import decoded, path_below
from shmstream.url_prefix import clean_prefix

PREFIX = 'shmstream.prefix'
"""The key of the prefix in a scope."""

FORWARDED_PREFIX = b'x-forwarded-prefix'
"""The header in which a proxy names its part."""

_BY_HEADER = 'shmstream.prefix_by_header'


def prefix_of(scope: Any) -> str:
    """Return the prefix of a scope that ``Prefix.cut`` has returned: '' or '/...'."""
    prefix: str = scope.get(PREFIX, '')
    return prefix


def prefix_varies(scope: Any) -> bool:
    """Whether this request's ``X-Forwarded-Prefix`` has a part in its prefix."""
    return _BY_HEADER in scope


class Prefix:
    """Finds the prefix of each request, and removes the operator's part of it.

    Attributes:
        own: the operator's part by the environment; '' if there is none.
    """

    def __init__(self) -> None:
        self.own = clean_prefix(os.environ.get('SCRIPT_NAME', ''))

    def cut(self, scope: Any) -> Any:
        """Return a scope whose paths are without the operator's part of the prefix.

        Args:
            scope: the scope of an ASGI request or WebSocket.

        Returns:
            A new scope; the same scope if there is no prefix.
        """
        forwarded = ''
        for name, value in scope['headers']:
            if name == FORWARDED_PREFIX:
                # The first value is from the proxy that is nearest to the client.
                forwarded = clean_prefix(
                    value.decode('latin-1').partition(',')[0].strip()
                )
                break
        root = scope.get('root_path')
        own = (clean_prefix(root) if root else '') or self.own
        if not forwarded and not own:
            return scope
        # The proxy's value may already end with the service's own prefix.
        prefix = forwarded if forwarded.endswith(own) else forwarded + own
        cut = dict(scope)
        cut[PREFIX] = prefix
        cut['root_path'] = ''
        if prefix != own:
            cut[_BY_HEADER] = True
        if own:
            _take_off(cut, own)
        return cut


def _take_off(scope: Any, prefix: str) -> None:
    path: str = scope['path']
    raw: bytes = (scope.get('raw_path') or b'').partition(b'?')[0]
    mount = unquote_to_bytes(prefix)
    text = mount.decode('utf-8', 'replace')
    if not path.startswith(text) or path[len(text) : len(text) + 1] != '/':
        return
    if raw and not decoded(raw).startswith(mount + b'/'):
        return
    below = path[len(text) :]
    if prefix == '/v1' and not below.startswith('/v1/'):
        # A proxy has removed the prefix, and this ``/v1`` is the API's own.
        return
    scope['path'] = below
    if raw:
        scope['raw_path'] = b'/' + path_below(raw, mount)
