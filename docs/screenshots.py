"""Plays the demonstration page in a browser, and takes its pictures.

::

    .venv/bin/pip install -e '.[test]' pillow
    .venv/bin/python -m docs.screenshots          the pictures of the pages, into docs/
    .venv/bin/python -m docs.screenshots DIR      every state, wide, narrow, light, dark
    .venv/bin/python -m docs.screenshots DIR cut  one of them

It needs Chromium (``.ci/debian``) and Pillow, which nothing else here needs.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support.chromium import browser as started_browser
from tests.support.service import Service

DOCS = Path(__file__).parent
WIDE = (1280, 800)
NARROW = (390, 844)
FILM = (1120, 680)
FRAME_S = 0.2
COLOURS = 128

Scheme = Literal['light', 'dark']

STILLS: tuple[tuple[str, tuple[int, int], Scheme], ...] = (
    ('page.png', WIDE, 'light'),
    ('page-phone.png', NARROW, 'dark'),
)


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
    page.goto(f'http://127.0.0.1:{service.port}/_shmstream/')
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


def by_another(page: Page) -> bool:
    """Whether another worker has sent the rest: else the picture shows half of it."""
    return 'another worker' in page.inner_text('#status')


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


def shot(page: Page) -> Image.Image:
    """Return what the page shows now."""
    return Image.open(io.BytesIO(page.screenshot())).convert('RGB')


def flattened(images: list[Image.Image]) -> list[Image.Image]:
    """Return these images in the colours that they have most of, the same for all.

    So files are small, and each frame of a film holds only what has changed.
    """
    count: Counter[Any] = Counter()
    for image in images:
        for many, colour in image.getcolors(image.width * image.height) or ():
            count[colour] += many
    flat = [part for colour, _ in count.most_common(COLOURS) for part in colour]
    palette = Image.new('P', (1, 1))
    palette.putpalette(flat)
    none = Image.Dither.NONE
    return [image.quantize(palette=palette, dither=none) for image in images]


def pictures(browser: Browser, service: Service) -> None:
    """Take the pictures of the documentation's pages."""
    for name, size, scheme in STILLS:
        with opened(browser, service, size, scheme) as page:
            resumed(page)
            while not by_another(page):
                page.click('#stop')
                in_phase(page, 'cancelled')
                resumed(page)
            flattened([shot(page)])[0].save(DOCS / name, optimize=True)


def animation(browser: Browser, service: Service) -> bool:
    """Film the cut: each frame is a screenshot, shown for as long as it took.

    Returns:
        False if the same worker has sent the rest, which is worth no film.
    """
    frames: list[Image.Image] = []
    lasted: list[int] = []
    with opened(browser, service, FILM, 'light') as page:

        def film(seconds: float) -> None:
            began = time.monotonic()
            while (now := time.monotonic()) < began + seconds:
                frames.append(shot(page))
                page.wait_for_timeout(max(FRAME_S - (time.monotonic() - now), 0) * 1000)
                lasted.append(round((time.monotonic() - now) * 1000))

        film(1)
        for seconds in (3, 4, 5):
            page.click('#main')
            film(seconds)
        if not by_another(page):
            return False
    first, *others = flattened(frames)
    first.save(
        DOCS / 'cut.gif', save_all=True, append_images=others, duration=lasted, loop=0
    )
    return True


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as logs:
        service = Service(Path(logs) / 'log', workers=3, expected=('aborted',))
        with service, started_browser() as browser:
            if sys.argv[1:]:
                every_state(browser, service, Path(sys.argv[1]), set(sys.argv[2:]))
            else:
                pictures(browser, service)
                while not animation(browser, service):
                    pass
