"""Fixtures: the services of the HTTP tests, whose logs are checked."""

from __future__ import annotations

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
