"""nginx: static files by sendfile, and (nchan.py) its module nchan."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench.measure import free_port, wait_port
from bench.peers.base import WORKERS, Peer, Session

_MODULES = (Path('/usr/lib/nginx/modules'), Path('/usr/lib64/nginx/modules'))


def program() -> str | None:
    """The nginx program, also if only root's PATH has it."""
    return shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/sbin')


def module(name: str) -> Path | None:
    """A dynamic module's file."""
    found: Iterator[Path] = (folder / name for folder in _MODULES)
    return next((path for path in found if path.exists()), None)


class Nginx(Peer):
    """Two workers that send the files of ``files`` with sendfile."""

    name = 'nginx'
    load_module = ''
    server = 'location / { root %FILES%; default_type text/event-stream; }'

    @property
    def files(self) -> Path:
        """The directory that it serves."""
        return self.scratch / 'files'

    def missing(self) -> str | None:
        return None if program() else 'no nginx (see bench/peers/setup.sh)'

    def start(self) -> None:
        self.files.mkdir(exist_ok=True)
        self.port = free_port()
        home = self.scratch / self.name
        home.mkdir()
        # Started by root, its workers would run as the user nobody, who may not
        # read our files.
        user = 'user root;' if os.geteuid() == 0 else ''
        config = home / 'nginx.conf'
        config.write_text(
            f'{self.load_module}\n{user}\n'
            f'worker_processes {WORKERS};\nworker_rlimit_nofile 20000;\n'
            f'daemon off;\npid {home}/pid;\nerror_log {home}/error.log;\n'
            'events { worker_connections 12000; }\n'
            'http { access_log off; sendfile on; tcp_nopush off; tcp_nodelay on;\n'
            'keepalive_requests 100000000; open_file_cache max=1000;\n'
            + ''.join(
                f'{kind}_temp_path {home}/{kind};\n'
                for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')
            )
            + self.globals()
            + f'server {{ listen 127.0.0.1:{self.port} backlog=4096; '
            + self.server.replace('%FILES%', str(self.files))
            + ' } }\n'
        )
        name = program()
        assert name is not None
        command = [name, '-c', str(config), '-p', str(home), '-e', f'{home}/error.log']
        wait_port(self.port, self.launch(command))

    def globals(self) -> str:
        """Further directives of the http block."""
        return ''

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        raise NotImplementedError('files are no live streams')
