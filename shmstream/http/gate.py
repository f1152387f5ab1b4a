"""Refuses requests before any other module looks at them.

::

    a request is refused                                                    with status
    ----------------------------------------------------------------------  -----------
    if ``SHMSTREAM_HOSTS`` names hosts, and the ``Host`` is none of them    421
    if a page of another site sent it, and the page's origin is not named   403
      (``SHMSTREAM_CORS_ORIGINS``)

A browser says in each request whether the page is of another site
(``Sec-Fetch-Site``), and the page cannot prevent this. CORS does not make this check
superfluous, because CORS decides only who may read the answer: a ``text/plain`` POST
needs no permission, and takes effect. A page of another site may link to a page of the
service, because the browser follows a link with a GET that navigates.

Browsers do not say it over plain ``http://``, except to localhost, and not all of them
say it with a WebSocket. They send the ``Origin`` of the page then, which the page
cannot prevent either. So the origin must be allowed, or it must be the service's own:
that of the ``Host``, or that of the ``X-Forwarded-Host`` of a proxy, which no page can
set. For a WebSocket this is checked in any case, as CORS does not apply to WebSockets.
A GET or a HEAD without ``Sec-Fetch-Site`` is let through: it changes nothing, and CORS
decides who may read the answer. Clients that are no browsers send no ``Origin``.
"""

from __future__ import annotations

from typing import Any

from shmstream.host_names import HostNames
from shmstream.http.origins import Origins
from shmstream.serving.page_origin import is_of
from shmstream.serving.problems import Problem

TELLING = frozenset({b'origin', b'sec-fetch-site'})
"""Headers of which a request has at least one if it can be refused for its page."""


class Gate:
    """Decides first whether a request is refused.

    Args:
        hosts: the names that are served.
        origins: the origins whose pages may use the service.
    """

    def __init__(self, hosts: HostNames, origins: Origins) -> None:
        self._hosts = hosts
        self._origins = origins

    @property
    def names_hosts(self) -> bool:
        """Whether a request can be refused for its ``Host``."""
        return self._hosts.some

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
                # The first value is from the proxy that is nearest to the client.
                known_as = value if known_as is None else known_as
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
        reads = scope['type'] == 'http' and scope['method'] in ('GET', 'HEAD')
        if site == b'cross-site':
            foreign = not (reads and mode == b'navigate')
        elif origin is None or reads or (site and scope['type'] == 'http'):
            foreign = False
        else:
            foreign = not (is_of(origin, host) or is_of(origin, known_as))
        if foreign and not self._origins.name(origin):
            text = 'Pages of this origin are not allowed (SHMSTREAM_CORS_ORIGINS)'
            return Problem(403, text, cause='origin')
        return None
