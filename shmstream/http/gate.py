"""Refuses requests before any other module looks at them.

::

    a request is refused                                                    with status
    ----------------------------------------------------------------------  -----------
    if ``SHMSTREAM_HOSTS`` names hosts, and the ``Host`` is none of them    421
    if a page of another site sent it, and the page's origin is not named   403
      (``SHMSTREAM_CORS_ORIGINS``)

A browser says in each request whether the page is of another site
(``Sec-Fetch-Site``), and the page cannot prevent this. This check is needed besides
CORS, because CORS decides only who may read the answer: a ``text/plain`` POST needs no
permission, and takes effect. A page of another site may link to a page of the service,
because the browser follows a link with a GET that navigates.

Not all browsers send ``Sec-Fetch-Site`` with a WebSocket, and CORS does not apply to
WebSockets. So if a WebSocket has an ``Origin``, this origin must be named, or must be
the service's own: that of the ``Host``, or that of the ``X-Forwarded-Host`` of a proxy,
which no page can set.
"""

from __future__ import annotations

from typing import Any

from shmstream.host_names import HostNames
from shmstream.http.origins import Origins
from shmstream.serving.problems import Problem


class Gate:
    """Decides first whether a request is refused.

    Args:
        hosts: the names that are served.
        origins: the origins whose pages may use the service.
    """

    def __init__(self, hosts: HostNames, origins: Origins) -> None:
        self._hosts = hosts
        self._origins = origins

    def refusal(self, scope: Any) -> Problem | None:
        """Return why this request is refused; None if it is not refused.

        Args:
            scope: the scope of an ASGI request or WebSocket.
        """
        host = known_as = origin = site = mode = None
        hosts = 0
        for name, value in scope['headers']:
            if name == b'host':
                host, hosts = value, hosts + 1
            elif name == b'x-forwarded-host':
                known_as = value
            elif name == b'origin':
                origin = value
            elif name == b'sec-fetch-site':
                site = value
            elif name == b'sec-fetch-mode':
                mode = value
        if self._hosts.some:
            only = host if hosts == 1 else None
            if not self._hosts.serves(only, scope.get('scheme', 'http')):
                return Problem(421, 'This host name is not served (SHMSTREAM_HOSTS)')
        if scope['type'] == 'websocket':
            foreign = origin is not None and (
                site == b'cross-site'
                or not (_is_of(origin, host) or _is_of(origin, known_as))
            )
        else:
            foreign = site == b'cross-site' and not (
                mode == b'navigate' and scope['method'] in ('GET', 'HEAD')
            )
        if foreign and not self._origins.name(origin):
            return Problem(
                403, 'Pages of this origin are not allowed (SHMSTREAM_CORS_ORIGINS)'
            )
        return None


def _is_of(origin: bytes, host: bytes | None) -> bool:
    """Whether this is the origin of the pages of this host."""
    return host is not None and origin.partition(b'://')[2] == host.lower()
