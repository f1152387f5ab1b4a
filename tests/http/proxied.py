"""A service in front of a scripted upstream whose streams a test feeds by hand."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.support.client import Client, Live
from tests.support.service import Service
from tests.support.upstream import WAIT_S, Exchange, Script, ScriptedUpstream

Action = Callable[[Exchange], object]


class Feed:
    """One upstream answer: it does what it is told, when it is told.

    Args:
        token: what the request's body names it by.
        content_type: of the stream.
        pending: wait for ``begin`` before the answer's headers are sent.
        first: sent at once.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        token: str,
        content_type: str,
        pending: bool,
        first: bytes,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.token = token
        self._content_type = content_type
        self._headers = headers
        self._begun = threading.Event()
        self._actions: queue.SimpleQueue[Action | None] = queue.SimpleQueue()
        self._arrived = threading.Event()
        self._exchange: Exchange | None = None
        self._ended = False
        self.over = threading.Event()
        """Set once the upstream is done with it."""
        if not pending:
            self._begun.set()
        if first:
            self.send(first)

    def __call__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._arrived.set()
        try:
            assert self._begun.wait(WAIT_S)
            exchange.start_stream(self._content_type, *self._headers)
            while action := self._actions.get(timeout=WAIT_S):
                action(exchange)
        finally:
            self.over.set()
            if not self._ended:
                # Or the service would wait for the rest.
                with contextlib.suppress(OSError):
                    exchange.break_off()

    @property
    def exchange(self) -> Exchange:
        """The request, once it is there."""
        assert self._arrived.wait(WAIT_S), 'upstream was not asked'
        assert self._exchange is not None
        return self._exchange

    @property
    def asked(self) -> bool:
        """Whether the request has come."""
        return self._arrived.is_set()

    def begin(self) -> None:
        """Send the headers now."""
        self._begun.set()

    def send(self, data: bytes) -> None:
        """Send a chunk."""
        self._actions.put(lambda exchange: exchange.chunk(data))

    def end(self) -> None:
        """Send the closing chunk."""

        def close(exchange: Exchange) -> None:
            exchange.end()
            self._ended = True

        self._actions.put(close)
        self._actions.put(None)

    def break_off(self) -> None:
        """Cut the connection."""
        self._actions.put(None)

    def hung_up(self, wait_s: float = WAIT_S) -> bool:
        """Whether the service closes its connection within this time."""
        exchange = self.exchange
        # Looked at twice: a reset is an error at the first look, and the end after it.
        return (
            exchange.hung_up.is_set()
            or exchange.wait_hang_up(wait_s)
            or exchange.wait_hang_up(0)
        )

    def release(self) -> None:
        """Break off unless it has ended, so that nothing waits for it."""
        self._begun.set()
        self._actions.put(None)


class Proxied:
    """The service, its upstream and a client."""

    def __init__(self, service: Service, upstream: ScriptedUpstream) -> None:
        self.service = service
        self.upstream = upstream
        self.client: Client = service.client()
        self.script: Script | None = None
        """What answers requests that name no feed."""
        self._feeds: dict[str, Feed] = {}
        self._count = 0
        upstream.script = self._dispatch

    def feed(
        self,
        content_type: str = 'text/event-stream',
        *,
        pending: bool = False,
        first: bytes = b'',
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Feed:
        """Make an answer for a POST to come."""
        self._count += 1
        token = f'feed-{self._count}'
        feed = Feed(token, content_type, pending, first, headers)
        self._feeds[feed.token] = feed
        return feed

    def post(self, conv_id: str, feed: Feed, **headers: str) -> Live:
        """POST under this id, to be answered by the feed."""
        return self.client.post(conv_id, {'feed': feed.token}, **headers)

    def stream(self, conv_id: str, data: bytes, **options: Any) -> Live:
        """POST under this id; the answer is these bytes, and ends."""
        feed = self.feed(**options)
        feed.send(data)
        feed.end()
        return self.post(conv_id, feed)

    def _dispatch(self, exchange: Exchange) -> None:
        try:
            token = json.loads(exchange.body)['feed']
        except (ValueError, KeyError, TypeError):
            token = None
        answer = self._feeds.get(token, self.script)
        assert answer is not None, f'nothing answers {exchange.target}'
        answer(exchange)

    def clear(self) -> None:
        """Let go of what a test has left."""
        for feed in self._feeds.values():
            feed.release()
        self._feeds.clear()
        self.script = None


def proxied_service(
    log: Path, base: str = '', workers: int = 3, **settings: str
) -> AbstractContextManager[Proxied]:
    """A service with rings of 64 KiB, and its upstream.

    Args:
        log: of the service.
        base: path of the upstream's base URL.
        workers: of the service.
        settings: of the service.
    """
    return proxied_with(settings, base, log=log, workers=workers)


@contextlib.contextmanager
def proxied_with(
    settings: dict[str, str], base: str = '', **options: Any
) -> Iterator[Proxied]:
    """The same.

    Args:
        settings: of the service.
        base: path of the upstream's base URL.
        options: what else the service is given.
    """

    def unused(_: Exchange) -> None:
        raise AssertionError('not set up yet')

    with ScriptedUpstream(unused) as upstream:
        ours = {'SESSION_BYTES': '64KiB', 'UPSTREAM': upstream.url + base}
        with Service(settings=ours | settings, **options) as service:
            proxied = Proxied(service, upstream)
            yield proxied
            proxied.clear()
