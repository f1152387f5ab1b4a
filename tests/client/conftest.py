"""Fixtures: the services of the HTTP tests, whose logs are checked."""

from __future__ import annotations

import pytest

from tests.client.reading import KINDS, InThread
from tests.http.conftest import (
    demo,
    proxied,
    proxied_module,
    proxy,
    serve,
    watch,
    watch_module,
)

__all__ = [
    'demo',
    'proxied',
    'proxied_module',
    'proxy',
    'serve',
    'watch',
    'watch_module',
]


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> type[InThread]:
    """A client for threads, then one for event loops."""
    return KINDS[request.param]
