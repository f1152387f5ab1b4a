"""A page that follows the events of a stream."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, Route

from tests.support.event_source import Dispatched

PAGE = (Path(__file__).with_name('event_source.html')).read_text()


class Followed:
    """A page that follows the events at an address, as the documentation says.

    Args:
        page: a tab.
        url: the address.
        closes: whether it closes the source at the end.
    """

    def __init__(self, page: Page, url: str, closes: bool = True) -> None:
        self.page = page
        self._url, self._closes = url, closes
        page.route('**/blank', self._blank)
        # Of the same origin, so that the service need not name it.
        page.goto(f'{url.partition("/v1/")[0]}/blank')
        self.open()

    @staticmethod
    def _blank(route: Route) -> None:
        route.fulfill(content_type='text/html', body=PAGE)

    def open(self) -> None:
        """Have the page make its source, after what it has stored."""
        self.page.evaluate('([...given]) => open(...given)', [self._url, self._closes])

    @property
    def events(self) -> list[Dispatched]:
        """What has come, also before a reload of the page."""
        return [Dispatched(**each) for each in self.page.evaluate('told')]

    def until(self, count: int) -> list[Dispatched]:
        """Wait for as many events in all; return those that are there."""
        self.page.wait_for_function('count => told.length >= count', arg=count)
        return self.events

    def rest(self) -> list[Dispatched]:
        """Wait until it has given up for good; return all events."""
        self.page.wait_for_function('source.readyState === EventSource.CLOSED')
        return self.events
