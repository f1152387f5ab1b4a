"""The path that the service is found below, as its clients see it.

::

    who says it                            what it says
    -------------------------------------  ---------------------------------------------
    the server (``--root-path``), which    all that is asked for is below it
    has it in the scope
    the environment (``SCRIPT_NAME``)      the same; the way of gunicorn's other workers
    a proxy (``X-Forwarded-Prefix``)       this request came to it below this path

Some proxies take the prefix away before they pass a request on, others do not, and both
is right here: what begins with the prefix is taken to have it still. From here on the
paths of a scope are without it, its ``root_path`` is empty, and whoever makes an
address puts ``prefix_of(scope)`` in front.

A client that sends such a header itself changes the addresses that it is told, and
nobody else's: answers that hold one are not stored by caches.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote_to_bytes

from shmstream.serving.request import decoded, path_below
from shmstream.url_prefix import clean_prefix

PREFIX = 'shmstream.prefix'
"""Where a scope keeps it."""


def prefix_of(scope: Any) -> str:
    """Return the prefix of a scope that ``Prefix.cut`` has returned: '' or '/...'."""
    prefix: str = scope.get(PREFIX, '')
    return prefix


class Prefix:
    """Finds the prefix of each request, and takes it off."""

    def __init__(self) -> None:
        self._own = clean_prefix(os.environ.get('SCRIPT_NAME', ''))

    def cut(self, scope: Any) -> Any:
        """Return the scope with paths below the prefix; the same one if there is none.

        Args:
            scope: of an ASGI request or WebSocket.
        """
        forwarded = ''
        for name, value in scope['headers']:
            if name == b'x-forwarded-prefix':
                # The proxy that is nearest to the client comes first.
                forwarded = clean_prefix(
                    value.decode('latin-1').partition(',')[0].strip()
                )
                break
        root = scope.get('root_path')
        own = (clean_prefix(root) if root else '') or self._own
        if not forwarded and not own:
            return scope
        # A proxy that has it from us may say it again, or put its own before it.
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
        # A proxy took it away, and what is there is the API's own.
        return False
    scope['path'] = below
    if raw:
        scope['raw_path'] = b'/' + path_below(raw, mount)
    return True
