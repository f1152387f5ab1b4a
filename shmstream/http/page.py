"""The demonstration page, which starts, loses, resumes and stops a stream."""

from __future__ import annotations

from importlib.resources import files

import falcon.asgi


class PageResource:
    """Serves ``/_shmstream/``; if no upstream is configured, it serves ``/`` as well.

    With an upstream, ``/`` is the upstream's own page.
    """

    def __init__(self) -> None:
        self._html = files('shmstream.http').joinpath('page.html').read_bytes()

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer with the page: one file, without build step or other resources."""
        resp.content_type = 'text/html; charset=utf-8'
        resp.set_headers(
            {
                'Cache-Control': 'no-cache',
                'X-Content-Type-Options': 'nosniff',
                'Content-Security-Policy': (
                    "default-src 'none'; connect-src 'self';"
                    " script-src 'unsafe-inline'; style-src 'unsafe-inline';"
                    " frame-ancestors 'none'"
                ),
            }
        )
        resp.data = self._html

    on_head = on_get
