"""The page of the service."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.chromium import needs_chromium
from tests.support.service import Service

pytestmark = needs_chromium


def test_it_loads(demo: Service, page: Page) -> None:
    page.goto(f'http://127.0.0.1:{demo.port}/')
    assert 'shmstream' in page.title()
