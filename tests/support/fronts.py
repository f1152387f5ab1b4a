"""What stands between a browser and the service: nothing but gunicorn, or an nginx."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.http.proxied import Proxied, proxied_with
from tests.support.certificate import Certificate, certificate
from tests.support.nginx import Nginx
from tests.support.service import Service

GUNICORN = 'gunicorn, HTTP/2'
HTTP_2 = (GUNICORN, 'nginx, HTTP/2')
ALL = (*HTTP_2, 'nginx, HTTP/1.1')

CHAT = '/api/chat'
"""The path of ``useChat``."""


@dataclass(frozen=True)
class Front:
    """A service, and where its clients find it.

    Attributes:
        proxied: the service and its upstream.
        port: that its clients are given.
        certificate: what it speaks TLS with; None if it does not.
    """

    proxied: Proxied
    port: int
    certificate: Certificate | None

    def base(self, port: int = 0) -> str:
        """Its address, or that of a relay that leads to it."""
        scheme = 'http' if self.certificate is None else 'https'
        return f'{scheme}://127.0.0.1:{port or self.port}'


@contextlib.contextmanager
def front_of(name: str, folder: Path) -> Iterator[Front]:
    """A service behind one of ``ALL``."""
    server, _, version = name.partition(', ')
    made = certificate(folder) if version == 'HTTP/2' else None
    own = made if server == 'gunicorn' else None
    log = folder / 'service.log'
    with proxied_with({'CHAT': CHAT}, log=log, certificate=own) as proxied:
        port = proxied.service.port
        if server == 'gunicorn':
            yield Front(proxied, port, made)
            return
        with Nginx(folder, port, certificate=made) as nginx:
            yield Front(proxied, nginx.port, made)


def front_fixture(names: Sequence[Any]) -> Any:
    """Return a fixture: a service behind each of these, whose log is checked."""

    @pytest.fixture(scope='module', params=names)
    def front(
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
        watch_module: Callable[[Service], Service],
    ) -> Iterator[Front]:
        """A service behind each."""
        with front_of(request.param, tmp_path_factory.mktemp('front')) as front:
            watch_module(front.proxied.service)
            yield front

    return front
