"""What the service sends to browsers as it is.

That is the page, the module that the page reads with, and the README that it links to.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from importlib.resources import files

import falcon.asgi

from shmstream import browser

_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self' 'unsafe-inline';"
    " style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
)


class StaticResource:
    """Serves one text, which is in memory.

    Args:
        content_type: its type.
        data: the text.
        headers: further headers.
    """

    def __init__(self, content_type: str, data: bytes, **headers: str) -> None:
        self._content_type = content_type
        self._data = data
        self._headers = {
            **browser.HEADERS,
            **{name.replace('_', '-'): value for name, value in headers.items()},
        }

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer with the text."""
        resp.content_type = self._content_type
        resp.set_headers(self._headers)
        resp.data = self._data

    on_head = on_get


def static(*, root: bool) -> dict[str, StaticResource]:
    """Return the resources by their paths. None of them tells anything of a stream.

    Args:
        root: whether ``/`` is the demonstration page, too: without an upstream, which
            may have a page of its own there.
    """
    html = files('shmstream.http').joinpath('page.html').read_bytes()
    page = StaticResource(
        'text/html; charset=utf-8', html, Content_Security_Policy=_POLICY
    )
    module = StaticResource(browser.CONTENT_TYPE, browser.module())
    readme = StaticResource('text/plain; charset=utf-8', _readme())
    found = {
        '/_shmstream/': page,
        f'/_shmstream/{browser.MODULE}': module,
        '/_shmstream/README.md': readme,
    }
    return found | {'/': page} if root else found


def _readme() -> bytes:
    """Return the project's README, as the installed package has it."""
    try:
        return metadata('shmstream')['Description'].encode()
    except PackageNotFoundError:
        return b'The README is in the source of shmstream, which is not installed here.'
