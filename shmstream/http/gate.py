"""What is refused before anybody looks at what is asked for.

::

    by which name it is asked      SHMSTREAM_HOSTS names some, and not this one   421
    on whose behalf                a page of another site, which is not named     403

A browser says the second of every request (``Sec-Fetch-Site``), and a page cannot keep
it from doing so. That is needed beside CORS, which decides who may read the answer: a
``text/plain`` POST asks for no permission, and has its effect. A page of another site
may still be a link to a page here, which is a GET that navigates.

Of a WebSocket not all browsers say it, and CORS does not apply to those at all: there
the ``Origin`` has to be named, or this service's own: of its ``Host``, or of the
``X-Forwarded-Host`` of a proxy, which no page can set.
"""

from __future__ import annotations

from typing import Any

from shmstream.host_names import HostNames
from shmstream.http.origins import Origins
from shmstream.serving.problems import Problem


class Gate:
    """Looks at every request first.

    Args:
        hosts: the names that are served.
        origins: the origins whose pages may use the service.
    """

    def __init__(self, hosts: HostNames, origins: Origins) -> None:
        self._hosts = hosts
        self._origins = origins

    def refusal(self, scope: Any) -> Problem | None:
        """Return why this request is refused; None if it is not.

        Args:
            scope: of an ASGI request or WebSocket.
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
    """Whether a page of this origin has come from this host."""
    return host is not None and origin.partition(b'://')[2] == host.lower()
