"""Plays the demonstration page in a browser, and takes its pictures.

::

    .venv/bin/pip install -e '.[test]' pillow
    .venv/bin/python -m docs.screenshots          the pictures of the README, into docs/
    .venv/bin/python -m docs.screenshots DIR      every state, wide, narrow, light, dark

It needs Chromium (``.ci/debian``), and Pillow for the animation.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

from tests.support.chromium import browser as started_browser
from tests.support.service import Service

DOCS = Path(__file__).parent
WIDE = (1280, 800)
NARROW = (390, 844)
KEY = 'sesame'

Scheme = Literal['light', 'dark']


@contextmanager
def opened(
    browser: Browser, service: Service, size: tuple[int, int], scheme: Scheme
) -> Iterator[Page]:
    """A fresh tab that shows the page."""
    context = browser.new_context(
        viewport={'width': size[0], 'height': size[1]}, color_scheme=scheme
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f'http://127.0.0.1:{service.port}/')
    page.locator('#facts dd').first.wait_for(state='attached')
    yield page
    context.close()


def in_phase(page: Page, phase: str) -> None:
    """Wait until the page shows this state."""
    page.wait_for_selector(f'main[data-phase={phase}]')


def number(page: Page, name: str) -> int:
    """Return a number that the page shows."""
    return int(page.inner_text(f'#{name}').replace(',', ''))


def has(page: Page, name: str, least: int) -> None:
    """Wait until a number of the page is as large as this."""
    for _ in range(3_000):
        if number(page, name) >= least:
            return
        page.wait_for_timeout(40)
    raise TimeoutError(f'{name} is {number(page, name)}')


def streaming(page: Page, read: int = 22_000) -> None:
    """Start, and read for a few seconds."""
    page.click('#main')
    has(page, 'read', read)


def cut(page: Page, read: int = 22_000, away: int = 17_000) -> None:
    """Cut the wire, while the server goes on."""
    streaming(page, read)
    page.click('#main')
    in_phase(page, 'cut')
    has(page, 'written', read + away)


def resumed(page: Page) -> None:
    """Go on, a few lines beyond the seam."""
    cut(page)
    page.click('#main')
    page.get_by_text('nothing lost').first.wait_for()
    has(page, 'read', 46_000)


def reloaded(page: Page) -> None:
    """Reload the page while it reads."""
    streaming(page, 8_000)
    page.reload()
    has(page, 'read', 16_000)


def stopped(page: Page) -> None:
    """Stop the answer."""
    streaming(page, 8_000)
    page.click('#stop')
    in_phase(page, 'cancelled')


def complete(page: Page) -> None:
    """Read a short answer to its end."""
    page.click('summary')
    page.select_option('#length', '100')
    page.select_option('#rate', '100')
    page.click('#main')
    in_phase(page, 'complete')


def failed(page: Page) -> None:
    """Kill the worker that writes."""
    streaming(page, 8_000)
    page.click('#kill')
    in_phase(page, 'aborted')


def idle(page: Page) -> None:
    """Nothing is begun yet."""


STATES: dict[str, Callable[[Page], None]] = {
    'idle': idle,
    'streaming': streaming,
    'cut': cut,
    'resumed': resumed,
    'reloaded': reloaded,
    'complete': complete,
    'stopped': stopped,
    'failed': failed,
}


def every_state(browser: Browser, service: Service, into: Path, only: set[str]) -> None:
    """Take each state in each size and colour scheme."""
    into.mkdir(parents=True, exist_ok=True)
    for name, play in STATES.items():
        if only and name not in only:
            continue
        for size in (WIDE, NARROW):
            schemes: tuple[Scheme, ...] = ('light', 'dark')
            for scheme in schemes:
                with opened(browser, service, size, scheme) as page:
                    play(page)
                    page.screenshot(path=into / f'{name}-{size[0]}-{scheme}.png')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as logs:
        service = Service(Path(logs) / 'log', workers=3, expected=('aborted',))
        with service, started_browser() as browser:
            every_state(browser, service, Path(sys.argv[1]), set(sys.argv[2:]))
