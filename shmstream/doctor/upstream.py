"""Can the upstream be reached? A connection is made, and nothing is asked."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, note, ok
from shmstream.upstream.address import Address

CONNECT_S = 4.0
"""Seconds that a connection may take here, whatever the settings allow it."""

_PORTS = {'http': 80, 'https': 443}


def upstream(case: Case) -> Finding:
    """Connect to the upstream, or to the proxy on the way; no request is sent."""
    settings = case.settings
    if settings.upstream is None:
        return note(
            'no upstream is set: the demo model answers', 'set SHMSTREAM_UPSTREAM'
        )
    address = Address.parse(settings.upstream)
    wait_s = min(CONNECT_S, settings.upstream_connect_timeout)
    proxy = settings.upstream_proxy
    url = urlsplit(proxy or address.origin)
    # The value of the variable of a proxy may hold a password.
    shown = f'the proxy {url.hostname}' if proxy else address.shown
    try:
        if address.unix_path is not None:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(wait_s)
                sock.connect(address.unix_path)
            return ok(f'{shown} takes connections')
        place = url.hostname or '', url.port or _PORTS[url.scheme]
        with socket.create_connection(place, wait_s) as sock:
            if url.scheme == 'https':
                context = ssl.create_default_context()
                with context.wrap_socket(sock, server_hostname=place[0]):
                    return ok(
                        f'{shown} takes connections, and its certificate is valid'
                    )
    except ssl.SSLCertVerificationError as ex:
        return bites(
            f'the certificate of {shown} is not trusted: {ex.verify_message}',
            'set SSL_CERT_FILE to the certificate of your own authority',
        )
    except OSError as ex:
        why = ex.strerror or str(ex) or type(ex).__name__
        return bites(
            f'{shown} cannot be reached: {why}',
            'start it, or mend SHMSTREAM_UPSTREAM: until then POSTs get 502 or 504',
        )
    return ok(f'{shown} takes connections')
