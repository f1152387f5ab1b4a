"""A service before an upstream of plain sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.raw_upstream import RawUpstream, Script
from tests.support.service import ROOT, Service


class Behind:
    """The service, and what it asks."""

    def __init__(self, service: Service, upstream: RawUpstream) -> None:
        self.service = service
        self.upstream = upstream
        self.client = service.client()
        self._seen = 0

    def does(self, script: Script) -> None:
        """What the upstream does with connections from now on."""
        self.upstream.script = script

    def log_lines(self) -> list[str]:
        """What the service has logged since this was asked last, but gunicorn's own."""
        text = self.service.text()[self._seen :]
        self._seen += len(text)
        return [line for line in text.splitlines() if '[DEBUG]' not in line]


def unused(_: object) -> None:
    raise AssertionError('not set up yet')


@contextlib.contextmanager
def behind(
    log: Path,
    workers: int = 1,
    address: Callable[[RawUpstream], str] = lambda upstream: upstream.url,
    unix: Path | None = None,
    environment: dict[str, str] | None = None,
    config: Path = ROOT / 'gunicorn.conf.py',
    settings: dict[str, str] | None = None,
) -> Iterator[Behind]:
    """Start both.

    Args:
        log: of the service.
        workers: of the service.
        address: what the service is told of where its upstream is.
        unix: where the upstream listens, if not at a port.
        environment: further variables of the service.
        config: of gunicorn.
        settings: of the service.
    """
    with RawUpstream(unused, unix) as upstream:
        ours = {'SESSION_BYTES': '64KiB', 'UPSTREAM': address(upstream)}
        service = Service(
            log,
            workers=workers,
            settings=ours | (settings or {}),
            environment=environment,
            config=config,
        )
        with service:
            both = Behind(service, upstream)
            both.log_lines()
            yield both
