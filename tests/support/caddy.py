"""A Caddy that runs the file that we ship; the package ``caddyserver`` brings it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support.client import Client
from tests.support.leaks import wait_until
from tests.support.nginx import free_port
from tests.support.service import ROOT

BINARY = Path(sys.executable).parent / 'caddy'
FILE = ROOT / 'deploy' / 'caddy' / 'Caddyfile'

_ATTEMPTS = 5


class Caddy:
    """Starts on entering, stops on leaving; certificates are those of its own CA.

    Args:
        folder: for its files.
        behind: the service's port.
    """

    def __init__(self, folder: Path, behind: int) -> None:
        self._folder = folder
        self._behind = behind
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def trusting(self) -> ssl.SSLContext:
        """For clients that trust its CA."""
        root = self._folder / 'caddy/pki/authorities/local/root.crt'
        return ssl.create_default_context(cafile=root)

    def client(self) -> Client:
        """A client of it."""
        return Client(self.port, self.trusting)

    @property
    def log(self) -> str:
        """What it says."""
        return Path(self._folder, 'caddy.log').read_text()

    def _start(self) -> bool:
        self.port = free_port()
        environ = os.environ | {
            'CHAT_SITE': f'https://127.0.0.1:{self.port}',
            'CHAT_SERVICE': f'127.0.0.1:{self._behind}',
            'XDG_DATA_HOME': str(self._folder),
            'XDG_CONFIG_HOME': str(self._folder),
        }
        adapt = [str(BINARY), 'adapt', '--config', str(FILE), '--adapter', 'caddyfile']
        done = subprocess.run(adapt, env=environ, capture_output=True, check=True)
        config = json.loads(done.stdout)
        # Beside others on this machine: no port for administration, none for plain
        # HTTP, and its CA is trusted by who asks for it, not by the whole machine.
        config['admin'] = {'disabled': True}
        authorities = {'local': {'install_trust': False}}
        config['apps']['pki'] = {'certificate_authorities': authorities}
        (server,) = config['apps']['http']['servers'].values()
        server.setdefault('automatic_https', {})['disable_redirects'] = True
        file = self._folder / 'caddy.json'
        file.write_text(json.dumps(config))
        with Path(self._folder, 'caddy.log').open('wb') as log:
            process = self._process = subprocess.Popen(
                [str(BINARY), 'run', '--config', str(file)],
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: process.poll() is not None or self._answers())
        return process.poll() is None

    def _answers(self) -> bool:
        try:
            return self.client().get('/healthz').status == 200
        except OSError:
            # It does not listen yet, or has no certificate yet.
            return False

    def __enter__(self) -> Self:
        assert any(self._start() for _ in range(_ATTEMPTS)), self.log
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)
