"""A certificate for loopback, by which servers and clients of tests speak TLS."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

BINARY = shutil.which('openssl')

needs_openssl = pytest.mark.skipif(
    BINARY is None, reason='there is no openssl here: .ci/debian installs it'
)


@dataclass(frozen=True)
class Certificate:
    """A certificate that vouches for itself.

    Attributes:
        file: the certificate.
        key: its key.
    """

    file: Path
    key: Path

    @property
    def trusting(self) -> ssl.SSLContext:
        """For clients that trust it."""
        return ssl.create_default_context(cafile=self.file)


def certificate(folder: Path) -> Certificate:
    """Make one for 127.0.0.1."""
    made = Certificate(folder / 'certificate.pem', folder / 'key.pem')
    assert BINARY is not None
    command = [BINARY, 'req', '-x509', '-nodes', '-days', '2', '-subj', '/CN=test']
    command += ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
    command += ['-addext', 'subjectAltName=IP:127.0.0.1']
    command += ['-out', str(made.file), '-keyout', str(made.key)]
    subprocess.run(command, check=True, capture_output=True)
    return made
