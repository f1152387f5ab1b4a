"""The example of assistant-ui, in a browser, with the demo model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.support.chromium import needs_chromium
from tests.support.node import bundle, needs_node
from tests.support.service import ROOT, Service

pytestmark = [needs_chromium, needs_node]

EXAMPLE = ROOT / 'examples' / 'assistant_ui'
WAIT_MS = 60_000.0

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What esbuild makes of the page."""
    return bundle(EXAMPLE / 'page.jsx', tmp_path_factory.mktemp('bundle'))


@pytest.fixture
def chat(context: BrowserContext, demo: Service, built: Path) -> Iterator[Page]:
    """The page, at the address of the service."""

    def send(route: Route) -> None:
        route.fulfill(path=built if route.request.url.endswith('js') else html)

    def lengthen(route: Route) -> None:
        # Or it would be over before a busy machine presses the button.
        asked = {**(route.request.post_data_json or {}), 'max_tokens': 100_000}
        route.continue_(post_data=json.dumps(asked))

    html = EXAMPLE / 'index.html'
    context.route('**/assistant/*', send)
    context.route('**/v1/chat/completions', lengthen)
    page = context.new_page()
    errors: list[str] = []
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(f'http://127.0.0.1:{demo.port}/assistant/index.html')
    yield page
    assert errors == []


def counted(page: Page) -> int:
    """How far the answer counts; nothing may be lost or doubled."""
    (answer,) = page.get_by_text('I am the demo model').all_inner_texts()
    numbers = [int(word) for word in answer.split() if word.isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)


def test_an_answer_goes_on_after_a_reload_and_is_stopped(chat: Page) -> None:
    chat.get_by_placeholder('Ask').fill('Who are you?')
    chat.get_by_role('button', name='Send').click()
    expect(chat.get_by_text(re.compile(' 20 '))).to_be_visible()
    before = counted(chat)
    chat.reload()
    expect(chat.get_by_text('Who are you?')).to_be_visible()
    expect(chat.get_by_text(re.compile(f' {before + 20} '))).to_be_visible()
    chat.get_by_role('button', name='Stop').click()
    expect(chat.get_by_role('button', name='Stop')).to_be_disabled()
    stopped = counted(chat)
    chat.reload()
    expect(chat.get_by_text('Who are you?')).to_be_visible()
    assert counted(chat) == stopped
