"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

BINARY = shutil.which('chromium')

needs_chromium = pytest.mark.skipif(
    BINARY is None,
    reason='there is no chromium here: .ci/debian installs it',
)

# The tests need no network but loopback, and Chromium would look for others.
_FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window; every test makes a context of its own in it."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BINARY, args=_FLAGS)
        yield chromium
        chromium.close()
