"""Whether the page of another site has sent a request.

A browser says in each request of which site the page is (``Sec-Fetch-Site``), and the
page cannot prevent this. Over plain ``http://`` it says so to localhost only, and sends
the ``Origin`` of the page with each POST, which the page cannot prevent either. That
has to be the origin of the ``Host`` then, or of the ``X-Forwarded-Host`` of a proxy,
which no page can set. Clients that are no browsers send none of these.
"""

from __future__ import annotations

from shmstream.serving.problems import Problem
from shmstream.serving.request import Request

_USUAL_PORTS = {b'http': b':80', b'https': b':443'}


def check_page(request: Request) -> None:
    """Refuse a POST of another site's page.

    CORS does not make this superfluous: it decides only who may read the answer. A POST
    without a body, or with one of ``text/plain``, needs no permission, and takes
    effect.

    Raises:
        Problem: 403.
    """
    site, origin = request.header(b'sec-fetch-site'), request.header(b'origin')
    if site is not None:
        foreign = site == b'cross-site'
    else:
        hosts = request.header(b'host'), request.header(b'x-forwarded-host')
        foreign = origin is not None and not any(is_of(origin, host) for host in hosts)
    if foreign:
        raise Problem(403, 'Pages of other sites may not do this', cause='origin')


def is_of(origin: bytes, host: bytes | None) -> bool:
    """Whether this is the origin of the pages of this host.

    Args:
        origin: the value of ``Origin``.
        host: the value of ``Host`` or ``X-Forwarded-Host``, which may be a list.
    """
    scheme, _, own = origin.partition(b'://')
    if not own or host is None:
        return False
    first = host.partition(b',')[0].strip().lower()
    # Browsers leave the usual port out.
    return own == first.removesuffix(_USUAL_PORTS.get(scheme, b':'))
