"""Falcon's middleware: it checks a request before Falcon routes it."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from shmstream.http import falcon_request
from shmstream.http.api_keys import ApiKeys
from shmstream.http.origins import Origins
from shmstream.http.prefix import prefix_varies
from shmstream.http.replies import put
from shmstream.ids import NOBODY
from shmstream.serving.request import Request

_ADDRESSES = ('location', 'content-location', 'refresh')


def _asked(req: falcon.asgi.Request) -> Request:
    """Return the request in the form that keys and origins check."""
    return Request(
        req.method, falcon_request.raw_path(req), headers=req.scope['headers']
    )


class KeysMiddleware:
    """Sets ``req.context.owner`` to the owner of a request.

    Args:
        keys: the keys.
        without: paths that need none, because they tell nothing of any stream. A
            browser cannot send a key with the address of a page.
    """

    def __init__(self, keys: ApiKeys, without: frozenset[str]) -> None:
        self._keys = keys
        self._without = without

    async def process_request(
        self, req: falcon.asgi.Request, _resp: falcon.asgi.Response
    ) -> None:
        """Set the owner, or refuse the request."""
        if req.path in self._without:
            req.context.owner = NOBODY
        else:
            req.context.owner = self._keys.owner(_asked(req))


class OriginsMiddleware:
    """Lets pages of the named origins use the service."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    async def process_request(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Answer a preflight request here, because it has no key."""
        falcon_request.check_target(req)
        if req.method == 'OPTIONS':
            preflight = self._origins.preflight(_asked(req))
            if preflight is not None:
                put(preflight, resp)
                resp.complete = True

    async def process_response(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        _resource: Any,
        _succeeded: bool,
    ) -> None:
        """Add the headers that say whether the page may see the answer."""
        for name, value in self._origins.headers(_asked(req)):
            resp.append_header(name.decode(), value.decode('latin-1'))


class PrefixMiddleware:
    """Says which answers name addresses that ``X-Forwarded-Prefix`` has changed."""

    async def process_response(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        _resource: Any,
        _succeeded: bool,
    ) -> None:
        """Add ``Vary``, so that no cache gives the answer to other clients."""
        if prefix_varies(req.scope) and any(map(resp.get_header, _ADDRESSES)):
            resp.append_header('Vary', 'X-Forwarded-Prefix')
