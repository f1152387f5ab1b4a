"""One browser for these tests, and a context of its own per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.http.conftest import (
    demo,
    proxied,
    proxied_module,
    proxy,
    serve,
    watch,
    watch_module,
)
from tests.support.chromium import browser as started_browser

__all__ = [
    'demo',
    'proxied',
    'proxied_module',
    'proxy',
    'serve',
    'watch',
    'watch_module',
]

WAIT_MS = 60_000.0
"""How long Playwright waits for what a page does, on a machine that is busy."""


@pytest.fixture(scope='package')
def browser() -> Iterator[Browser]:
    """One browser, which is closed before the process runs a test of another folder.

    As long as it is there, an event loop of Playwright's counts as running in this
    thread, and ``asyncio.run`` refuses to work.
    """
    with started_browser() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile: no cookies, no storage, no cache."""
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab; no script of it may fail without anybody seeing it."""
    page = context.new_page()
    errors: list[str] = []
    page.on('pageerror', lambda error: errors.append(str(error)))
    yield page
    assert errors == []
