"""F25: nothing that a worker does on its event loop blocks it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.test_leaving import begin
from tests.support.blocking import WAYS
from tests.support.client import Client, path
from tests.support.frozen import freeze
from tests.support.leaks import wait_until
from tests.support.resume import ResumingReader
from tests.support.service import ROOT, Service
from tests.support.upstream import Exchange, Script, ScriptedUpstream

Guarded = Callable[..., tuple[Service, Path]]


@pytest.fixture
def guarded(serve: Callable[..., Service], tmp_path: Path) -> Guarded:
    """Start services that note what blocks the event loops of their workers."""

    def start(**options: object) -> tuple[Service, Path]:
        found = tmp_path / 'blocked'
        config = tmp_path / 'gunicorn.conf.py'
        guard = (
            'def post_fork(server, worker):\n'
            '    from pathlib import Path\n'
            '    from tests.support import loop_guard\n'
            f'    loop_guard.activate(Path({str(found)!r}))\n\n'
        )
        text = (ROOT / 'gunicorn.conf.py').read_text()
        config.write_text(text.replace('hooks.install(', guard + 'hooks.install('))
        return serve(config=config, **options), found

    return start


def use_everything(client: Client, conv_id: str) -> None:
    """Every route, and every way in which a stream is read and ends."""
    with begin(client, conv_id, 100) as post:
        other = ResumingReader(client, conv_id)
        reader = ResumingReader(client, conv_id)
        assert reader.some.wait(20)
        assert client.call('HEAD', path(conv_id)).status == 200
        assert client.lookup(conv_id)[0]['state'] == 'live'
        whole = post.rest()
        assert other.result() == reader.result() == whole
    assert client.get(path(conv_id, 10)).body == whole[10:]
    part = client.get(path(conv_id), Range='bytes=5-')
    assert (part.status, part.body) == (206, whole[5:])
    assert part.headers['content-range'] == f'bytes 5-{len(whole) - 1}/{len(whole)}'
    beyond = client.get(path(conv_id), Range=f'bytes={len(whole)}-')
    assert beyond.status == 416
    assert client.get(path('nobody')).status == 404
    for target in ('/healthz', '/_shmstream/', '/_shmstream/openapi.json'):
        assert client.get(target).status == 200
    with begin(client, f'{conv_id}-left', 10_000):
        pass
    twice = f'{conv_id}-twice'
    with begin(client, twice, 10_000) as first, begin(client, twice, 10_000) as second:
        first.rest()
        assert client.delete(path(twice)).status == 204
        second.rest()
    assert client.delete(path(f'{conv_id}-left')).status == 204
    with client.post(None, {'max_tokens': 3}) as plain:
        plain.rest()


def test_f25_no_route_blocks_the_loop(guarded: Guarded) -> None:
    service, blocked = guarded(workers=2, settings={'DEMO_RATE': '100'})
    use_everything(service.client(), 'chat')
    # Nor does a worker that leaves, or one that comes.
    before = set(service.worker_pids())
    service.signal(signal.SIGHUP)
    assert wait_until(lambda: not before & set(service.worker_pids()), 20)
    use_everything(service.client(), 'again')
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert blocked.read_text() == ''


def answer(exchange: Exchange) -> None:
    """As an upstream does: a stream, an error, a whole answer."""
    if exchange.target.endswith('/refused'):
        exchange.reply(429, b'{}', ('Content-Type', 'application/json'))
    elif exchange.method == 'GET':
        exchange.reply(200, b'x' * 1_000_000)
    else:
        exchange.start_stream()
        for number in range(300):
            exchange.chunk(b'data: %d\n\n' % number * 300)
        exchange.end()


def test_f25_the_way_upstream_does_not_block_the_loop(
    guarded: Guarded, upstream: Callable[[Script], ScriptedUpstream]
) -> None:
    behind = upstream(answer)
    service, blocked = guarded(workers=2, settings={'UPSTREAM': behind.url})
    client = service.client()
    with client.post('chat', {}) as post:
        whole = post.rest()
    assert client.get(path('chat')).body == whole
    assert len(client.get('/props').body) == 1_000_000
    named = {'X-Conversation-Id': 'refused'}
    assert client.call('POST', '/refused', b'{}', named).status == 429
    with client.post(None, {}) as plain:
        assert plain.rest() == whole
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert blocked.read_text() == ''


def test_f60_a_stream_that_outgrows_its_share_waits_for_nobody(
    guarded: Guarded, upstream: Callable[[Script], ScriptedUpstream]
) -> None:
    """1. The supervisor stops. 2. A stream takes most of the share. 3. Nobody answers.

    Result: the loop does not wait, and the stream goes on beyond the share.
    """
    event = b'data: ' + b'x' * 8185 + b'\n\n'
    silent = threading.Event()

    def long_answer(exchange: Exchange) -> None:
        exchange.start_stream()
        for number in range(384):
            # Two thirds of the limit, and all of it once nobody has answered.
            if number == 176:
                assert silent.wait(60)
            exchange.chunk(event)
        exchange.end()

    service, blocked = guarded(
        workers=1,
        settings={
            'UPSTREAM': upstream(long_answer).url,
            'MAX_MEMORY': str(2 << 20),
            'SESSION_BYTES': str(4 << 20),
        },
        expected=('no answer about room',),
    )
    (supervisor,) = service.supervisors()
    with service.client().post('long', {}) as post:
        post.until(1)
        freeze(supervisor)
        try:
            assert wait_until(lambda: 'no answer about room' in service.text(), 60)
            silent.set()
            whole = post.rest()
        finally:
            silent.set()
            os.kill(supervisor, signal.SIGCONT)
    assert whole == event * 384
    assert blocked.read_text() == ''


def test_f25_what_blocks_is_found(guarded: Guarded) -> None:
    """The two tests above bite: each way of blocking is noted, and by its name."""
    service, blocked = guarded(
        workers=2,
        arguments=('tests.support.blocking:app()',),
        expected=('Traceback', 'internal error'),
    )
    for how in WAYS:
        before = len(blocked.read_text())
        service.client().get('/block?how=' + how.replace(' ', '%20'))
        found = blocked.read_text()[before:]
        assert found.startswith(how.split()[0]), (how, found)
        assert 'tests/support/blocking.py' in found


def test_f25_a_supervisor_that_hangs_holds_up_no_loop(
    serve: Callable[..., Service],
) -> None:
    """1. The supervisor stops. 2. Requests wait for it. 3. Streams go on meanwhile.

    Result: what needs the supervisor is refused in the end; nothing else notices.
    """
    service = serve(workers=1, settings={'DEMO_RATE': '100'})
    client = service.client()
    with begin(client, 'done', 20) as done:
        whole = done.rest()
    with begin(client, 'chat', 10_000) as post:
        (supervisor,) = service.supervisors()
        freeze(supervisor)
        try:
            asking = [Asking(client) for _ in range(8)]
            answered = 0
            with client.open('GET', path('chat')) as live:
                # Until the first of them has given up, which takes seconds: a loop that
                # waited with it would have answered next to nothing before.
                while not any(each.answered.is_set() for each in asking):
                    live.until(len(live.body) + 1)
                    assert client.get(path('done')).body == whole
                    answered += 1
                assert answered > 20
                # And until all have.
                while not all(each.answered.is_set() for each in asking):
                    live.until(len(live.body) + 1000)
                    post.until(len(post.body) + 1000)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert [each.result() for each in asking] == [503] * 8
        assert wait_until(lambda: client.delete(path('chat')).status == 204)
        post.rest()


class Asking:
    """Asks in a thread for what takes the supervisor."""

    def __init__(self, client: Client) -> None:
        self.answered = threading.Event()
        self._client = client
        self._status: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._status = self._client.delete(path('nobody')).status
        finally:
            self.answered.set()

    def result(self) -> int | None:
        """The status of its answer."""
        self._thread.join()
        return self._status
