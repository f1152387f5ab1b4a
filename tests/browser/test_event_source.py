"""The browser's own ``EventSource``, which resumes by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.followed_page import Followed
from tests.http.proxied import Proxied, proxied_service
from tests.support.chromium import needs_chromium
from tests.support.followed import SHARED, Follow, Stream, sees_a_death

pytestmark = needs_chromium


@pytest.fixture
def follow(page: Page) -> Follow:
    """Has a page follow the events at an address."""

    @contextlib.contextmanager
    def following(url: str) -> Iterator[Followed]:
        yield Followed(page, url)

    return following


@pytest.mark.parametrize('scene', SHARED, ids=lambda scene: str(scene.__name__))
def test_each_event_comes_once(
    proxied: Proxied,
    follow: Follow,
    scene: Callable[[Proxied, Follow, str], None],
) -> None:
    scene(proxied, follow, scene.__name__)


def test_who_does_not_close_at_the_end_comes_back_once(
    proxied: Proxied, page: Page
) -> None:
    """The end has an id, too: 204 answers who comes with it, and is final.

    Here it is another id than the last event's: the failure is told in the end.
    """
    with Stream(proxied, 'open') as stream:
        followed = Followed(page, stream.url, closes=False)
        stream.send(3)
        followed.until(3)
        stream.feed.break_off()
        events = followed.rest()
        stream.check(events, 'aborted')
        assert stream.last_ids == ['', events[-1].id]
        assert events[-1].id != events[-2].id


def test_a_page_that_is_loaded_again_goes_on(proxied: Proxied, page: Page) -> None:
    """It has stored what it has, and the last id, which it puts into the address."""
    with Stream(proxied, 'reload') as stream:
        followed = Followed(page, stream.url)
        stream.send(3)
        followed.until(3)
        page.reload()
        assert len(followed.events) == 3
        followed.open()
        stream.send(3)
        stream.feed.end()
        stream.check(followed.rest())


def test_who_was_offline_goes_on(
    proxied: Proxied, page: Page, context: BrowserContext
) -> None:
    with Stream(proxied, 'offline') as stream:
        followed = Followed(page, stream.url)
        stream.send(3)
        followed.until(3)
        context.set_offline(True)
        # Connections that stand are left alone by that, as a router would not.
        stream.relay.hold()
        stream.relay.let_go()
        # It has come back in vain, and goes on trying.
        page.wait_for_function('failures >= 2')
        assert len(stream.last_ids) == 1
        stream.send(3)
        context.set_offline(False)
        followed.until(6)
        stream.feed.end()
        events = followed.rest()
        stream.check(events)
        assert stream.last_ids == ['', events[2].id]


KEY = {'Authorization': 'Bearer key-of-the-page'}


def test_a_page_follows_with_a_token(mortal: Proxied, page: Page) -> None:
    """The server that has the key gives the page a token, which reads one stream."""
    with Stream(mortal, 'token', 3, headers=KEY) as stream:
        assert '?token=' in stream.url
        followed = Followed(page, stream.url)
        stream.send(6)
        stream.feed.end()
        stream.check(followed.rest())
        assert len(stream.last_ids) == 2


def test_without_a_token_it_gives_up(mortal: Proxied, page: Page) -> None:
    with Stream(mortal, 'no-token', headers=KEY) as stream:
        assert Followed(page, stream.url.partition('?')[0]).rest() == []
        assert stream.last_ids == ['']


def test_the_death_of_the_worker_is_told(mortal: Proxied, follow: Follow) -> None:
    sees_a_death(mortal, follow, 'death', KEY)


@pytest.fixture(scope='module')
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A service with keys, whose workers are killed, which its log may say."""
    log = tmp_path_factory.mktemp('mortal') / 'service.log'
    with proxied_service(log, API_KEYS='key-of-the-page') as proxied:
        yield proxied
