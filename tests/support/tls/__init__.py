"""A certificate for ``localhost`` and ``model.invalid``, signed by nobody but itself.

Its key is no secret: nobody trusts it but a test that says so. Made by::

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes
        -days 36500 -subj /CN=localhost -keyout key.pem -out cert.pem -addext
        subjectAltName=DNS:localhost,DNS:model.invalid,IP:127.0.0.1
"""

from __future__ import annotations

import ssl
from pathlib import Path

CERTIFICATE = Path(__file__).with_name('cert.pem')


def server_context() -> ssl.SSLContext:
    """A context for a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_name('key.pem'))
    return context
