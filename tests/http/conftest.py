"""Fixtures of the HTTP tests: whatever they start must not log an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.http.proxied import Proxied, proxied_service
from tests.support.service import Service

Watch = Callable[[Service], Service]


def _watching() -> Iterator[Watch]:
    watched: list[Service] = []

    def watch(service: Service) -> Service:
        watched.append(service)
        return service

    yield watch
    for service in watched:
        text = service.text()
        assert 'Traceback' not in text, text
        assert '[ERROR]' not in text, text


@pytest.fixture(scope='module', autouse=True)
def watch_module() -> Iterator[Watch]:
    """After the module's services have stopped: nothing in their logs is an error."""
    yield from _watching()


@pytest.fixture(autouse=True)
def watch(watch_module: Watch) -> Iterator[Watch]:
    """The same for the services of one test."""
    yield from _watching()


@pytest.fixture(scope='module')
def demo(demo: Service, watch_module: Watch) -> Service:
    """The module's service with the demo model; its log is checked."""
    return watch_module(demo)


@pytest.fixture
def serve(serve: Callable[..., Service], watch: Watch) -> Callable[..., Service]:
    """Start services; their logs are checked."""
    return lambda **options: watch(serve(**options))


@pytest.fixture(scope='module')
def proxied_module(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Proxied]:
    """A service and a scripted upstream, shared by a module's tests."""
    log = tmp_path_factory.mktemp('proxied') / 'service.log'
    with proxied_service(log) as proxied:
        watch_module(proxied.service)
        yield proxied


@pytest.fixture
def proxied(proxied_module: Proxied) -> Iterator[Proxied]:
    """The same; what the test leaves open upstream is let go after it."""
    yield proxied_module
    proxied_module.clear()


@pytest.fixture
def proxy(tmp_path: Any, watch: Watch) -> Iterator[Callable[..., Proxied]]:
    """Start a service with settings of its own and its scripted upstream."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(workers: int = 3, **settings: str) -> Proxied:
            log = tmp_path / 'proxied.log'
            proxied = stack.enter_context(
                proxied_service(log, workers=workers, **settings)
            )
            watch(proxied.service)
            return proxied

        yield start
