"""An nginx in front of a service, as deployments have it: all that delays is on."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from tests.support.certificate import Certificate
from tests.support.client import Client
from tests.support.leaks import wait_until

BINARY = shutil.which('nginx', path='/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin')

needs_nginx = pytest.mark.skipif(
    BINARY is None, reason='there is no nginx on this machine: .ci/debian installs it'
)

_CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""

_BUFFERING = """
    gzip on;
    gzip_min_length 0;
    gzip_proxied any;
    gzip_types text/event-stream;
    server {{
        listen 127.0.0.1:{port} {secure}
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_buffering on;
            {lines}
        }}
    }}
"""

_SECURE = """ssl http2;
        ssl_certificate {certificate.file};
        ssl_certificate_key {certificate.key};"""

HTTP_1_1 = 'proxy_http_version 1.1; proxy_set_header Connection "";'
"""What README.md says is needed."""

_ATTEMPTS = 5


def free_port() -> int:
    """A port that nobody listens at, for whoever cannot find one by itself."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port: int = sock.getsockname()[1]
        return port


class AnyNginx:
    """Starts on entering, stops on leaving.

    Args:
        folder: for its files.
        servers: what stands in its block ``http``, for the port that it is given.
        certificate: it speaks TLS to its clients.
    """

    def __init__(
        self,
        folder: Path,
        servers: Callable[[int], str],
        certificate: Certificate | None = None,
    ) -> None:
        self._folder = folder
        self._servers = servers
        self.certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def client(self) -> Client:
        """A client of it."""
        made = self.certificate
        return Client(self.port, None if made is None else made.trusting)

    @property
    def log(self) -> str:
        """Its error log."""
        return Path(self._folder, 'error.log').read_text()

    def _start(self) -> bool:
        """Try a port: it cannot find one that is free by itself."""
        self.port = free_port()
        config = self._folder / 'nginx.conf'
        servers = self._servers(self.port)
        config.write_text(_CONFIG.format(folder=self._folder, servers=servers))
        assert BINARY is not None
        command = [BINARY, '-p', str(self._folder), '-e', f'{self._folder}/error.log']
        process = self._process = subprocess.Popen([*command, '-c', str(config)])
        # It writes the file when it listens.
        wait_until(
            lambda: process.poll() is not None or Path(self._folder, 'pid').exists()
        )
        return process.poll() is None

    def __enter__(self) -> Self:
        assert any(self._start() for _ in range(_ATTEMPTS)), self.log
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)


class Nginx(AnyNginx):
    """Buffers, and compresses event streams.

    Args:
        folder: for its files.
        behind: the service's port.
        lines: more of its configuration, for the location.
        certificate: it speaks TLS and HTTP/2 to its clients.
    """

    def __init__(
        self,
        folder: Path,
        behind: int,
        lines: str = HTTP_1_1,
        certificate: Certificate | None = None,
    ) -> None:
        secure = ';'
        if certificate is not None:
            secure = _SECURE.format(certificate=certificate)
        super().__init__(
            folder,
            lambda port: _BUFFERING.format(
                port=port, secure=secure, behind=behind, lines=lines
            ),
        )
