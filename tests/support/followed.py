"""What real clients that resume by themselves make of the events route.

Each of these says what is done to a stream, and checks what its follower gets: each
event once, whatever happens, then the end, and no request after it. A follower is a
page in a browser, or a script for Node.js.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol
from urllib.parse import quote

from tests.http.proxied import Feed, Proxied
from tests.support.client import path
from tests.support.cutting import Cutting
from tests.support.event_source import Dispatched, address
from tests.support.leaks import wait_until


class Follows(Protocol):
    """A client that follows a stream."""

    def until(self, count: int) -> list[Dispatched]:
        """Wait for as many events in all; return those that are there."""

    def rest(self) -> list[Dispatched]:
        """Wait until it has given up for good; return all events."""


Follow = Callable[[str], AbstractContextManager[Follows]]
"""Has a client follow the events at an address, until ``end`` or for good."""


def event(number: int, size: int = 0) -> bytes:
    """An event of the stream."""
    return b'data: %s\n\n' % told(number, size).encode()


def told(number: int, size: int = 0) -> str:
    """Its data."""
    return json.dumps({'n': number} | ({'pad': 'x' * size} if size else {}))


class Stream:
    """A stream whose upstream a test feeds, and a relay in front of the service.

    Args:
        proxied: the service and its upstream.
        conv_id: of the stream.
        cuts: as for ``Cutting``: an event is cut in its middle.
        behind: the port that the relay leads to, if it is not the service's.
        headers: of the POST.
    """

    def __init__(
        self,
        proxied: Proxied,
        conv_id: str,
        *cuts: int,
        behind: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.proxied = proxied
        self.conv_id = conv_id
        self._headers = headers or {}
        self.relay = Cutting(behind or proxied.service.port, b'{"n"', *cuts)
        self._sent = 0
        self.feed: Feed
        self.begin()

    def begin(self) -> None:
        """POST: a stream that has nothing yet."""
        self.feed = self.proxied.feed()
        self.post = self.proxied.post(self.conv_id, self.feed, **self._headers)

    def send(self, count: int, size: int = 0) -> None:
        """Have the upstream send so many more events."""
        for number in range(self._sent, self._sent + count):
            self.feed.send(event(number, size))
        self._sent += count

    @property
    def whole(self) -> bytes:
        """What the upstream has sent, if every event was small."""
        return b''.join(map(event, range(self._sent)))

    @property
    def url(self) -> str:
        """Where a client has its events, through the relay, with a token if need be."""
        token = quote(self.post.headers.get('stream-token', ''))
        query = f'?token={token}' if token else ''
        return f'http://127.0.0.1:{self.relay.port}{address(self.conv_id)}{query}'

    @property
    def last_ids(self) -> list[str]:
        """What each request for them came with."""
        return self.relay.last_ids(address(self.conv_id))

    def check(self, events: list[Dispatched], state: str = 'complete') -> Any:
        """Each event came once, and then the end; returns what that tells."""
        *events, end = events
        assert [each.data for each in events] == [told(n) for n in range(self._sent)]
        assert {each.name for each in events} <= {'message'}
        assert end.name == 'end'
        what = json.loads(end.data)
        assert what['state'] == state
        return what

    def __enter__(self) -> Stream:
        self.relay.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.post.close()
        self.relay.__exit__()


def is_cut(proxied: Proxied, follow: Follow, conv_id: str) -> None:
    """1. It is cut in mid-event, twice. 2. The stream ends. 3. Nothing is asked."""
    with Stream(proxied, conv_id, 4, 3) as stream, follow(stream.url) as client:
        stream.send(20)
        stream.feed.end()
        events = client.rest()
        stream.check(events)
        assert stream.last_ids == ['', events[2].id, events[4].id]


def is_lapped(proxied: Proxied, follow: Follow, conv_id: str) -> None:
    """1. It is cut off. 2. The ring drops what comes next. 3. It gets ``lost``."""
    with Stream(proxied, conv_id) as stream, follow(stream.url) as client:
        stream.send(3)
        client.until(3)
        stream.relay.hold()
        stream.send(40, 4096)
        stream.feed.end()
        lookup = proxied.client.lookup
        assert wait_until(lambda: bool(lookup(conv_id)[0]['is_done']))
        stream.relay.let_go()
        *events, end = client.rest()
    *first, lost = events[:4]
    assert [each.data for each in first] == [told(n) for n in range(3)]
    assert lost.name == 'lost'
    numbers = [json.loads(each.data)['n'] for each in events[4:]]
    assert numbers == list(range(numbers[0], 43))
    assert 3 < numbers[0] < 43
    dropped = json.loads(lost.data)['dropped_prefix']
    assert dropped == proxied.client.lookup(conv_id)[0]['dropped_prefix']
    assert end.name == 'end'


def is_replaced(proxied: Proxied, follow: Follow, conv_id: str) -> None:
    """1. It is cut off. 2. The id has a newer stream. 3. It gets all of that one."""
    with Stream(proxied, conv_id) as stream, follow(stream.url) as client:
        stream.send(3)
        client.until(3)
        stream.relay.hold()
        stream.post.close()
        stream.begin()
        stream.send(4)
        stream.feed.end()
        stream.relay.let_go()
        events = client.rest()
        generation = stream.post.headers['stream-generation']
    replaced = events.pop(3)
    assert replaced.name == 'replaced'
    assert json.loads(replaced.data) == {'generation': generation}
    stream.check(events)


def is_stopped(proxied: Proxied, follow: Follow, conv_id: str) -> None:
    """The stream is deleted while it is followed: the end says so."""
    with Stream(proxied, conv_id) as stream, follow(stream.url) as client:
        stream.send(3)
        client.until(3)
        assert proxied.client.delete(path(conv_id)).status == 204
        stream.check(client.rest(), 'cancelled')
        assert len(stream.last_ids) == 1


def is_gone(proxied: Proxied, follow: Follow, conv_id: str) -> None:
    """1. It is cut off. 2. The stream is no more. 3. 404 is final."""
    with Stream(proxied, conv_id) as stream, follow(stream.url) as client:
        stream.send(3)
        client.until(3)
        stream.relay.hold()
        assert proxied.client.delete(path(conv_id)).status == 204
        stream.relay.let_go()
        events = client.rest()
        assert [each.data for each in events] == [told(n) for n in range(3)]
        assert stream.last_ids == ['', events[-1].id]


def sees_a_reload(proxied: Proxied, follow: Follow, conv_id: str) -> None:
    """1. Its worker leaves, for a reload. 2. It is cut. 3. Another worker goes on."""
    with Stream(proxied, conv_id) as stream, follow(stream.url) as client:
        stream.send(3)
        client.until(3)
        proxied.service.signal(signal.SIGHUP)
        assert wait_until(lambda: len(stream.last_ids) > 1)
        stream.send(3)
        stream.feed.end()
        stream.check(client.rest())


def sees_a_death(
    proxied: Proxied,
    follow: Follow,
    conv_id: str,
    headers: dict[str, str] | None = None,
) -> None:
    """The worker that writes the stream is killed: the end tells that it failed."""
    with (
        Stream(proxied, conv_id, headers=headers) as stream,
        follow(stream.url) as client,
    ):
        stream.send(3)
        client.until(3)
        os.kill(stream.post.worker, signal.SIGKILL)
        end = stream.check(client.rest(), 'aborted')
        assert end['error']['message']


SHARED = (is_cut, is_lapped, is_replaced, is_stopped, is_gone, sees_a_reload)
"""What can be done at a service that other tests use as well."""
