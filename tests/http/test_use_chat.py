"""The routes of ``useChat`` with the client itself: ``Chat`` of ``@ai-sdk/react``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from shmstream import Streams
from tests.http.proxied import Feed, Proxied, proxied_service
from tests.support.cutting import Cutting
from tests.support.leaks import wait_until
from tests.support.node import Script, needs_node
from tests.support.ui_stream import HEADERS, beginning, delta, end

pytestmark = needs_node

CHAT = '/api/chat'


class Tab(Script):
    """A page with a chat.

    Args:
        port: where it has been loaded from.
        conv_id: the id of the chat.
        query: of the chat's path.
    """

    def __init__(self, port: int, conv_id: str, query: str = '') -> None:
        api = f'http://127.0.0.1:{port}{CHAT}{query}'
        super().__init__('use_chat.js', {'api': api, 'id': conv_id})

    def does(self, what: str, **more: Any) -> dict[str, Any]:
        """Have it do something; returns what it shows then."""
        self.say({'does': what, **more})
        shown: dict[str, Any] = self.hear()
        return shown

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        if kind is None:
            self.say({'does': 'bye'})
        super().__exit__(kind, *more)


Open = Callable[..., Tab]


@pytest.fixture(scope='module')
def chats_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    log = tmp_path_factory.mktemp('chats') / 'service.log'
    with proxied_service(log, workers=2, CHAT=CHAT) as proxied:
        yield proxied
        # A worker that has been killed is an error of gunicorn's.
        assert 'Traceback' not in proxied.service.text()


@pytest.fixture
def chats(chats_module: Proxied) -> Iterator[Proxied]:
    """A service of two workers, and an upstream that speaks UI messages."""
    yield chats_module
    chats_module.clear()


@pytest.fixture
def tab(chats: Proxied) -> Iterator[Open]:
    """Open tabs of the service."""
    with ExitStack() as stack:

        def opened(conv_id: str, query: str = '', port: int = 0) -> Tab:
            return stack.enter_context(Tab(port or chats.service.port, conv_id, query))

        yield opened


def fed(chats: Proxied, text: str, *, pending: bool = False) -> Feed:
    """An answer that begins with this text, at once or when ``begin`` is called."""
    first = beginning(text, 'answer')
    return chats.feed(first=first, headers=HEADERS, pending=pending)


def finish(feed: Feed, text: str) -> None:
    feed.send(end(text))
    feed.end()


def is_whole(shown: dict[str, Any], text: str, messages: int = 2) -> bool:
    """Whether this is the text of the last message, and no error is shown."""
    found = (shown['status'], shown['error'], shown['text'], shown['messages'])
    assert found == ('ready', None, text, messages)
    return True


def test_a_second_tab_and_a_reload_have_the_whole_answer(
    chats: Proxied, tab: Open
) -> None:
    feed = fed(chats, 'one ')
    first = tab('room 1/a')
    first.does('send', body={'feed': feed.token})
    assert first.does('until', text='one ')['status'] == 'streaming'
    second = tab('room 1/a')
    second.does('resume')
    assert second.does('until', text='one ')['status'] == 'streaming'
    feed.send(delta('two '))
    third = tab('room 1/a')
    third.does('resume')
    third.does('until', text='two ')
    finish(feed, 'three')
    assert is_whole(first.does('ends'), 'one two three')
    # They have not been given the question, which the application stores.
    assert is_whole(second.does('ends'), 'one two three', messages=1)
    assert is_whole(third.does('ends'), 'one two three', messages=1)


def test_a_tab_waits_for_a_model_that_thinks_for_long(
    chats: Proxied, tab: Open
) -> None:
    feed = fed(chats, 'one ', pending=True)
    tab('thinks').does('send', body={'feed': feed.token})
    assert wait_until(lambda: bool(chats.client.lookup('thinks')))
    page = tab('thinks')
    page.does('resume')
    with Streams.attach(chats.service.directory) as streams:
        streams.connect()
        segment = streams.open('thinks')._segment
        assert wait_until(lambda: streams._process.followers.everywhere(segment) > 0)
    # A GET of another route gives up after as long as the tab's begins to answer.
    assert chats.client.get('/v1/stream/thinks').status == 503
    feed.begin()
    assert page.does('until', text='one ')['status'] == 'streaming'
    finish(feed, 'two')
    assert is_whole(page.does('ends'), 'one two', messages=1)


def test_nothing_is_shown_of_what_is_over_or_unknown(chats: Proxied, tab: Open) -> None:
    feed = fed(chats, 'one')
    finish(feed, '')
    page = tab('over')
    page.does('send', body={'feed': feed.token})
    assert is_whole(page.does('ends'), 'one')
    for conv_id in ('over', 'unknown'):
        again = tab(conv_id)
        again.does('resume')
        shown = again.does('ends')
        assert is_whole(shown, '', messages=0)
        assert shown['finished'] is None
    replayed = tab('over', '?finished=replay')
    replayed.does('resume')
    assert is_whole(replayed.does('ends'), 'one', messages=1)


def test_a_tab_that_was_cut_goes_on_when_it_is_shown(chats: Proxied, tab: Open) -> None:
    """Twice; nothing is shown twice."""
    feed = fed(chats, 'one ')
    with Cutting(chats.service.port, b'one ', 1, 1) as relay:
        page = tab('cut', port=relay.port)
        page.does('send', body={'feed': feed.token})
        for _ in range(2):
            shown = page.does('ends')
            assert shown['finished']['isDisconnect']
            assert (shown['status'], shown['error']) == ('error', 'network error')
            page.does('show')
        feed.send(delta('two '))
        assert page.does('until', text='two ')['status'] == 'streaming'
        finish(feed, 'three')
        assert is_whole(page.does('ends'), 'one two three')
        assert [line.split()[0] for line in relay.requests] == [b'POST', b'GET', b'GET']


def test_a_cut_tab_has_the_rest_of_what_is_over_if_it_asks_for_it(
    chats: Proxied, tab: Open
) -> None:
    feed = fed(chats, 'one ')
    with Cutting(chats.service.port, b'one ', 1) as relay:
        page = tab('late', '?finished=replay', relay.port)
        page.does('send', body={'feed': feed.token})
        assert page.does('ends')['finished']['isDisconnect']
        finish(feed, 'two')
        assert feed.over.wait(60)
        assert wait_until(lambda: chats.client.lookup('late')[0]['is_done'])
        page.does('show')
        assert is_whole(page.does('ends'), 'one two')


def test_a_stop_ends_every_tab(chats: Proxied, tab: Open) -> None:
    feed = fed(chats, 'one ')
    pages = [tab('stopped'), tab('stopped')]
    pages[0].does('send', body={'feed': feed.token})
    pages[0].does('until', text='one ')
    pages[1].does('resume')
    pages[1].does('until', text='one ')
    # The page's own stop hangs up, and no more: the answer goes on.
    assert pages[0].does('stop')['text'] == 'one '
    assert pages[0].does('ends')['finished']['isAbort']
    assert chats.client.lookup('stopped')[0]['state'] == 'live'
    stopped = chats.client.call('POST', f'{CHAT}/stopped/stop', b'{}')
    assert stopped.json() == {'success': True}
    shown = pages[1].does('ends')
    assert shown['stopped']
    assert is_whole(shown, 'one ', messages=1)
    assert feed.hung_up()
    pages[0].does('resume')
    assert is_whole(pages[0].does('ends'), 'one ')


def test_a_tab_of_what_is_replaced_is_told_so(chats: Proxied, tab: Open) -> None:
    """The other tab has asked again."""
    old, new = fed(chats, 'old '), fed(chats, 'new ')
    pages = [tab('again'), tab('again')]
    pages[0].does('send', body={'feed': old.token})
    pages[0].does('until', text='old ')
    pages[1].does('send', body={'feed': new.token})
    pages[1].does('until', text='new ')
    shown = pages[0].does('ends')
    assert shown['stopped']
    assert is_whole(shown, 'old ')
    pages[0].does('resume')
    pages[0].does('until', text='new ')
    finish(new, 'answer')
    for page in pages:
        assert page.does('ends')['text'] == 'new answer'


def test_a_reload_of_the_workers_cuts_a_tab_which_goes_on(
    chats: Proxied, tab: Open
) -> None:
    feed = fed(chats, 'one ')
    first, second = tab('reload'), tab('reload')
    first.does('send', body={'feed': feed.token})
    first.does('until', text='one ')
    second.does('resume')
    second.does('until', text='one ')
    before = set(chats.service.worker_pids())
    chats.service.signal(signal.SIGHUP)
    shown = second.does('ends')
    assert shown['finished']['isDisconnect']
    assert wait_until(
        lambda: len(set(chats.service.worker_pids()) - before) == chats.service.workers,
        60,
    )
    feed.send(delta('two '))
    second.does('show')
    while second.does('until', text='two ')['worker'] in before:
        # The worker that leaves has taken the connection, and cuts it again.
        second.does('ends')
        second.does('show')
    finish(feed, 'three')
    assert is_whole(first.does('ends'), 'one two three')
    assert is_whole(second.does('ends'), 'one two three', messages=1)


def test_the_death_of_a_worker_is_shown(chats: Proxied, tab: Open) -> None:
    """To a tab at another worker, and to a tab that was cut and comes back."""
    feed = fed(chats, 'one ')
    first, second = tab('killed'), tab('killed')
    first.does('send', body={'feed': feed.token})
    worker = first.does('until', text='one ')['worker']
    reads_elsewhere(second, worker)
    os.kill(worker, signal.SIGKILL)
    assert first.does('ends')['finished']['isDisconnect']
    assert tells_of_a_death(second.does('ends'))
    first.does('show')
    assert tells_of_a_death(first.does('ends'))


def reads_elsewhere(tab: Tab, worker: int) -> None:
    """Have a tab resume at another worker than this; which one accepts is chance."""
    for _ in range(1000):
        tab.does('resume')
        if tab.does('until', text='one ')['worker'] != worker:
            return
        tab.does('stop')
        tab.does('ends')
    raise AssertionError('one worker accepts all connections')


def tells_of_a_death(shown: dict[str, Any]) -> bool:
    """Whether the tab shows what there is, and why there is no more."""
    assert (shown['status'], shown['text']) == ('error', 'one ')
    assert not shown['finished']['isDisconnect']
    return 'producer' in shown['error']
