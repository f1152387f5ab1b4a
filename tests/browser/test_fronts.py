"""Chromium behind nginx and over HTTP/2: a cut is an error there, and is resumed."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import WAIT_MS
from tests.browser.followed_page import Followed
from tests.support.certificate import needs_openssl
from tests.support.chromium import needs_chromium
from tests.support.client import path
from tests.support.followed import Stream
from tests.support.fronts import ALL, Front, front_fixture
from tests.support.nginx import needs_nginx

pytestmark = [needs_chromium, needs_openssl, needs_nginx]

READ = """([address, wait]) => {
    window.got ??= ''
    window.reading = fetch(address + got.length).then(async (response) => {
        if (!response.ok) throw response.status
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
        for (;;) {
            const { value, done } = await reader.read()
            if (done) return 'a clean end'
            window.got += value
        }
    }).catch((error) => `${error}`)
    return wait ? window.reading : undefined
}"""

PROTOCOL = """performance.getEntriesByType('resource').find(
    (entry) => entry.name.includes('/v1/')).nextHopProtocol"""


front = front_fixture(ALL)


@pytest.fixture
def page(browser: Browser, front: Front) -> Iterator[Page]:
    """A tab that does not ask who vouches for the certificate."""
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()
    front.proxied.clear()


def test_fetch_sees_a_cut_as_an_error_and_an_end_as_one(
    front: Front, page: Page
) -> None:
    """1. A page reads. 2. Its worker leaves. 3. It sees that, and reads the rest."""
    address = f'{path("fetched")}?from='
    with Stream(front.proxied, 'fetched') as stream:
        page.route('**/blank', lambda route: route.fulfill(body='blank'))
        page.goto(f'{front.base()}/blank')
        stream.send(3)
        page.evaluate(READ, [address, False])
        page.wait_for_function("got.includes('2}')")
        front.proxied.service.signal(signal.SIGHUP)
        assert page.evaluate('reading') == 'TypeError: network error'
        stream.send(3)
        stream.feed.end()
        # Another worker that leaves may have the connection.
        while page.evaluate(READ, [address, True]) != 'a clean end':
            pass
        assert page.evaluate('got').encode() == stream.whole
    secure = front.certificate is not None
    assert page.evaluate(PROTOCOL) == ('h2' if secure else 'http/1.1')


def test_an_event_source_resumes(front: Front, page: Page) -> None:
    """It is cut on its own side of what is in front, and then on the other."""
    with Stream(front.proxied, 'followed', behind=front.port) as stream:
        url = stream.url.replace('http://127.0.0.1', front.base().rpartition(':')[0])
        followed = Followed(page, url)
        stream.send(3)
        followed.until(3)
        stream.relay.hold()
        stream.relay.let_go()
        stream.send(3)
        followed.until(6)
        front.proxied.service.signal(signal.SIGHUP)
        page.wait_for_function('failures >= 2')
        stream.send(3)
        stream.feed.end()
        stream.check(followed.rest())
