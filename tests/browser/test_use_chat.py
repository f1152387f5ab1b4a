"""The example of ``useChat``: the hook itself, in a browser, with two workers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.producing.scripted import Gate, text
from tests.producing.steered import AFTER, BEFORE
from tests.support.chromium import needs_chromium
from tests.support.cutting import Cutting
from tests.support.leaks import wait_until
from tests.support.node import bundle, needs_node
from tests.support.service import ROOT, Service

pytestmark = [needs_chromium, needs_node]

EXAMPLE = ROOT / 'examples' / 'use_chat'
FIRST = ''.join(map(text, range(BEFORE)))
WHOLE = ''.join(map(text, range(BEFORE + AFTER)))
WAIT_MS = 60_000.0

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gates of the model are."""
    return tmp_path_factory.mktemp('gates')


@pytest.fixture(scope='module')
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What esbuild makes of the page."""
    return bundle(EXAMPLE / 'page.jsx', tmp_path_factory.mktemp('bundle'))


@pytest.fixture(scope='module')
def example(
    tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> Iterator[Service]:
    """The example, whose answers wait at a gate."""
    log = tmp_path_factory.mktemp('example') / 'service.log'
    with Service(
        log,
        workers=2,
        config=ROOT / 'examples' / 'gunicorn.conf.py',
        arguments=('tests.answers.use_chat_app:app',),
        environment={'ANSWERS_FOLDER': str(folder)},
    ) as service:
        yield service
        assert 'Traceback' not in service.text()


class Tab:
    """A tab with a chat."""

    def __init__(self, page: Page, port: int, script: Path, chat: str) -> None:
        self._page = page
        page.route('**/page.js', lambda route: route.fulfill(path=script))
        page.goto(f'http://127.0.0.1:{port}/?chat={chat}')

    def asks(self, question: str) -> None:
        """Send a question, which names a gate."""
        self._page.get_by_placeholder('Ask').fill(question)
        self._page.get_by_role('button', name='Send').click()

    def shows(self, answer: str, status: str) -> None:
        """Wait for this text of the last message, and this status or error."""
        expect(self._page.locator('.assistant').last).to_have_text(answer)
        self.tells(status)

    def tells(self, status: str) -> None:
        """Wait for this status or error."""
        expect(self._page.locator('output')).to_have_text(re.compile(status))

    def stops(self) -> None:
        """Press the button."""
        self._page.get_by_role('button', name='Stop').click()

    def reload(self) -> None:
        """Load the page anew."""
        self._page.reload()

    def is_shown(self) -> int:
        """Say that the tab is visible now, as the browser does.

        Returns:
            The worker that the tab resumes at.
        """
        with self._page.expect_response('**/stream') as found:
            self._page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        return int(found.value.headers['stream-worker'])

    def is_empty(self) -> None:
        """See that there is no message, and no error."""
        expect(self._page.locator('output')).to_have_text('ready')
        expect(self._page.locator('p')).to_have_count(0)


class Tabs:
    """The tabs of a test, all in one profile."""

    def __init__(
        self, context: BrowserContext, service: Service, script: Path, folder: Path
    ) -> None:
        self._context = context
        self.service = service
        self._script = script
        self._folder = folder

    def open(self, chat: str, port: int = 0) -> Tab:
        """Open one, by way of another port if that is asked."""
        page = self._context.new_page()
        return Tab(page, port or self.service.port, self._script, chat)

    def goes_on(self, question: str) -> None:
        """Open the gate."""
        Gate(self._folder, question).open()


@pytest.fixture
def tabs(context: BrowserContext, example: Service, script: Path, folder: Path) -> Tabs:
    return Tabs(context, example, script, folder)


def test_a_reload_and_a_second_tab_resume(tabs: Tabs) -> None:
    first = tabs.open('chat')
    first.is_empty()
    first.asks('a')
    first.shows(FIRST, 'streaming')
    second = tabs.open('chat')
    second.shows(FIRST, 'streaming')
    first.reload()
    first.shows(FIRST, 'streaming')
    tabs.goes_on('a')
    for tab in (first, second):
        tab.shows(WHOLE, 'ready')
    # It is over: the application has stored it, if it stores messages.
    first.reload()
    first.is_empty()


def test_a_tab_that_was_cut_goes_on_when_it_is_shown(tabs: Tabs) -> None:
    with Cutting(tabs.service.port, b'event 2', 1) as relay:
        tab = tabs.open('cut', relay.port)
        tab.asks('b')
        # What came just before the cut may not be shown.
        tab.tells('network error')
        tab.is_shown()
        tab.shows(FIRST, 'streaming')
        tabs.goes_on('b')
        tab.shows(WHOLE, 'ready')


def test_a_stop_and_a_new_question(tabs: Tabs) -> None:
    tab, other = tabs.open('stop'), tabs.open('stop')
    tab.asks('c')
    tab.shows(FIRST, 'streaming')
    other.reload()
    other.shows(FIRST, 'streaming')
    other.stops()
    for each in (tab, other):
        each.shows(FIRST, 'ready')
    tab.asks('d')
    tab.shows(FIRST, 'streaming')
    tabs.goes_on('d')
    tab.shows(WHOLE, 'ready')


def test_a_reload_of_the_workers_and_a_death(tabs: Tabs) -> None:
    service = tabs.service
    first, second = tabs.open('deploy'), tabs.open('deploy')
    first.asks('e')
    first.shows(FIRST, 'streaming')
    second.reload()
    second.shows(FIRST, 'streaming')
    before = set(service.worker_pids())
    service.signal(signal.SIGHUP)
    second.shows(FIRST, 'network error')
    assert wait_until(lambda: len(set(service.worker_pids()) - before) == 2, 60)
    while second.is_shown() in before:
        # The worker that leaves has taken the connection, and cuts it again.
        second.shows(FIRST, 'network error')
    second.shows(FIRST, 'streaming')
    for pid in before & set(service.worker_pids()):
        # It has waited for its answer.
        os.kill(pid, signal.SIGKILL)
    second.shows(FIRST, 'the producer of this stream has died')
    first.shows(FIRST, 'network error')
    first.is_shown()
    first.shows(FIRST, 'the producer of this stream has died')
