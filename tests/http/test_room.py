"""Limits on sessions and memory: who has to go, and who is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from tests.http.proxied import Feed, Proxied
from tests.http.wire import assert_error, numbered
from tests.support.client import Live, path
from tests.support.leaks import wait_until
from tests.support.session_files import held

KIB = 1024


class Room:
    """Streams of a service, made until it is full."""

    def __init__(self, proxied: Proxied, stack: ExitStack) -> None:
        self.proxied = proxied
        self._stack = stack
        self.live: dict[str, tuple[Feed, Live]] = {}

    def post(self, conv_id: str) -> int:
        """Begin a stream; returns the status."""
        feed = self.proxied.feed(first=numbered(32))
        post = self._stack.enter_context(self.proxied.post(conv_id, feed))
        if post.status == 200:
            post.until(32)
            self.live[conv_id] = feed, post
        else:
            assert not feed.asked, 'the upstream works for nobody'
            self.refused = post
        return post.status

    def end(self, conv_id: str) -> None:
        """End a stream and wait until that is known; it may have to go at once."""
        feed, post = self.live.pop(conv_id)
        feed.end()
        post.rest()
        assert wait_until(
            lambda: all(s['is_done'] for s in self.proxied.client.lookup(conv_id))
        )

    def check_live(self) -> None:
        """Every live stream still is, and delivers."""
        for n, (conv_id, (feed, post)) in enumerate(self.live.items()):
            more = numbered(16, n)
            had = len(post.body)
            feed.send(more)
            assert post.until(had + 16).endswith(more), conv_id

    def there(self, *ids: str) -> list[str]:
        """Which of these can be looked up."""
        return [found['conversation_id'] for found in self.proxied.client.lookup(*ids)]


def assert_refused(room: Room) -> None:
    error = assert_error(room.refused, 503, '')
    assert error['message']
    assert int(room.refused.headers['retry-after']) > 0


def test_live_streams_are_not_sacrificed(proxy: Callable[..., Proxied]) -> None:
    proxied = proxy(MAX_SESSIONS='2')
    with ExitStack() as stack:
        room = Room(proxied, stack)
        assert [room.post('a'), room.post('b'), room.post('c')] == [200, 200, 503]
        assert_refused(room)
        room.check_live()
        assert room.there('a', 'b', 'c') == ['a', 'b']
        assert proxied.client.get(path('c')).status == 404
        # One's own place can be taken again.
        old = room.live['a'][1]
        assert room.post('a') == 200
        assert old.rest() == numbered(32) + numbered(16, 0)
        room.check_live()
        # What has ended makes room at once, whether it was read or not.
        room.end('b')
        assert room.post('c') == 200
        assert room.there('a', 'b', 'c') == ['a', 'c']
        assert proxied.client.get(path('b')).status == 404
        room.check_live()
        # What was stopped does, too.
        assert proxied.client.delete(path('c')).status == 204
        room.live.pop('c')
        assert room.post('d') == 200
        room.check_live()


def test_the_oldest_of_what_has_ended_goes_first(proxy: Callable[..., Proxied]) -> None:
    proxied = proxy(MAX_SESSIONS='4')
    with ExitStack() as stack:
        room = Room(proxied, stack)
        for conv_id in 'abcd':
            assert room.post(conv_id) == 200
        # By when they ended, not by when they began.
        for conv_id in 'cab':
            room.end(conv_id)
        assert room.post('e') == 200
        assert room.there(*'abcde') == ['a', 'b', 'd', 'e']
        assert room.post('f') == 200
        assert room.there(*'abcdef') == ['b', 'd', 'e', 'f']
        assert room.post('b') == 200
        assert room.there(*'bdef') == ['b', 'd', 'e', 'f']
        assert room.post('g') == 503
        assert_refused(room)
        room.check_live()


def test_a_refused_post_can_be_repeated_when_there_is_room(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(MAX_SESSIONS='1')
    with ExitStack() as stack:
        room = Room(proxied, stack)
        assert [room.post('a'), room.post('b')] == [200, 503]
        room.end('a')
        assert room.post('b') == 200
        room.check_live()
    # What becomes no session needs no room.
    proxied.script = lambda exchange: exchange.reply(200, b'{}')
    assert proxied.client.get('/v1/models').status == 200


def test_what_has_ended_goes_after_its_time(proxy: Callable[..., Proxied]) -> None:
    proxied = proxy(SESSION_TTL='0.5', GC_INTERVAL='0.1')
    with ExitStack() as stack:
        room = Room(proxied, stack)
        assert [room.post('old'), room.post('live')] == [200, 200]
        room.end('old')
        assert wait_until(lambda: proxied.client.get(path('old')).status == 404)
        assert room.there('old', 'live') == ['live']
        # Its time begins when it ends, however long it has been live.
        room.check_live()
        assert proxied.client.call('HEAD', path('live')).status == 200


def fill(room: Room, limit: int) -> int:
    """Begin streams until one is refused; returns how many there are."""
    for n in range(limit):
        if room.post(f's{n}') != 200:
            return n
    raise AssertionError(f'{limit} streams, and still room')


def test_memory_is_a_limit(proxy: Callable[..., Proxied]) -> None:
    proxied = proxy(MAX_MEMORY='256KiB')
    with ExitStack() as stack:
        room = Room(proxied, stack)
        count = fill(room, 64)
        assert count > 1
        assert_refused(room)
        assert held(proxied.service.directory) <= 256 * KIB
        room.check_live()
        room.end('s0')
        assert room.post('new') == 200
        assert room.there('s0', 'new') == ['new']
        room.check_live()


def test_memory_stays_within_its_limit_while_streams_grow(
    proxy: Callable[..., Proxied],
) -> None:
    proxied = proxy(MAX_MEMORY='256KiB')
    more = numbered(60 * KIB)
    with ExitStack() as stack:
        room = Room(proxied, stack)
        fill(room, 64)
        for feed, _ in room.live.values():
            feed.send(more)
        ids = list(room.live)
        whole = 32 + len(more)
        # None ends by itself before all have what they can get: that is three times the
        # limit, so some get less. Those are aborted, and may have gone, too.
        assert wait_until(
            lambda: all(
                found['is_done'] or found['total_bytes'] == whole
                for found in proxied.client.lookup(*ids)
            )
        )
        # What a worker takes just before the room is measured is not in the figure: an
        # extent each. All that these streams ask for is three times the limit.
        assert held(proxied.service.directory) <= (256 + 3 * 64) * KIB
        cut = 0
        for feed, post in room.live.values():
            feed.end()
            body = post.rest()
            if body != numbered(32) + more:
                # There was no room for all of it: what there is, and why it ends.
                _, _, error = body.rpartition(b'\n\nevent: error\ndata: ')
                assert body.startswith(numbered(32))
                assert b'no room' in error
                cut += 1
        assert cut
