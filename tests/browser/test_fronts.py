"""Chromium behind nginx and over HTTP/2: a cut is an error there, and is resumed."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from playwright.sync_api import Browser, Page, expect

from shmstream.client import resumable
from tests.browser.conftest import WAIT_MS
from tests.browser.followed_page import Followed
from tests.http.proxied import Proxied
from tests.support.certificate import needs_openssl
from tests.support.chromium import needs_chromium
from tests.support.client import path
from tests.support.cutting import Cutting
from tests.support.followed import Stream
from tests.support.fronts import ALL, Front, front_fixture
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.nginx import needs_nginx
from tests.support.node import bundle, needs_node
from tests.support.service import ROOT
from tests.support.ui_stream import HEADERS, beginning, delta, end

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

MODULE = """<!doctype html><script type="module">
import { resumable } from '/_shmstream/shmstream.js'
const answer = resumable('/v1/stream/module', { as: 'json' })
window.got = []
for await (const { n } of answer) window.got.push(n)
window.over = answer.state
</script>"""

PROTOCOL = """performance.getEntriesByType('resource').find(
    (entry) => entry.name.includes('/v1/')).nextHopProtocol"""


USE_CHAT = ROOT / 'examples' / 'use_chat'

front = front_fixture(matrix(ALL, 'nginx, HTTP/1.1'))


@pytest.fixture(scope='module')
def chat_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of the example's page."""
    return bundle(USE_CHAT / 'page.jsx', tmp_path_factory.mktemp('bundle'))


def chunk(text: str) -> bytes:
    """A chunk of OpenAI's format."""
    choice = {'index': 0, 'delta': {'content': text}, 'finish_reason': None}
    head = {'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm'}
    return b'data: %s\n\n' % json.dumps({**head, 'choices': [choice]}).encode()


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


def test_the_module_resumes(front: Front, page: Page) -> None:
    """The same two cuts."""
    with Stream(front.proxied, 'module', behind=front.port) as stream:
        url = f'{front.base(stream.relay.port)}/page'
        page.route(url, lambda to: to.fulfill(content_type='text/html', body=MODULE))
        stream.send(3)
        page.goto(url)
        page.wait_for_function('window.got?.length === 3')
        stream.relay.hold()
        stream.relay.let_go()
        stream.send(3)
        page.wait_for_function('got.length === 6')
        front.proxied.service.signal(signal.SIGHUP)
        stream.send(3)
        stream.feed.end()
        page.wait_for_function("window.over === 'complete'")
        assert page.evaluate('got') == list(range(9))


def reload_workers(proxied: Proxied, conv_id: str) -> None:
    """Wait until nobody comes to a worker that leaves.

    ``useChat`` comes back once, and would not if it were cut again.
    """
    left = set(proxied.service.worker_pids())
    proxied.service.signal(signal.SIGHUP)

    def stays() -> bool:
        answer = proxied.client.call('HEAD', path(conv_id))
        return int(answer.headers.get('stream-worker', min(left))) not in left

    assert wait_until(lambda: all(stays() for _ in range(20)))


@needs_node
def test_use_chat_resumes(front: Front, page: Page, chat_page: Path) -> None:
    """1. A question. 2. The page is loaded again. 3. Its worker leaves. 4. The rest."""
    feed = front.proxied.feed(first=beginning('one ', 'answer'), headers=HEADERS)
    front.proxied.script = feed
    page.route('**/page.js', lambda route: route.fulfill(path=chat_page))
    html = (USE_CHAT / 'index.html').read_text(encoding='utf-8')
    url = f'{front.base()}/?chat=chat-{front.port}'
    page.route(url, lambda to: to.fulfill(content_type='text/html', body=html))
    page.goto(url)
    page.get_by_placeholder('Ask').fill('Count.')
    page.get_by_role('button', name='Send').click()
    answer, status = page.locator('.assistant').last, page.locator('output')
    expect(answer).to_have_text('one ')
    page.reload()
    expect(answer).to_have_text('one ')
    reload_workers(front.proxied, f'chat-{front.port}')
    expect(status).to_have_text(re.compile('network error'))
    feed.send(delta('two '))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(answer).to_have_text('one two ')
    feed.send(end('three'))
    feed.end()
    expect(answer).to_have_text('one two three')
    expect(status).to_have_text('ready')


def test_openai_resumes(front: Front) -> None:
    """Over HTTP/2 where the front speaks it: cut on both of its sides."""
    made = front.certificate
    verify = True if made is None else made.trusting
    http = httpx2.Client(http2=made is not None, verify=verify)
    feed = front.proxied.feed(first=chunk('one '))
    front.proxied.script = feed
    with Cutting(front.port) as relay, http:
        client = openai.OpenAI(
            base_url=f'{front.base(relay.port)}/v1',
            api_key='any',
            max_retries=0,
            http_client=http,
        )
        answer = iter(
            resumable(client, 'openai').chat.completions.create(
                model='m', messages=[{'role': 'user', 'content': 'Count.'}], stream=True
            )
        )
        texts = [next(answer)]
        relay.hold()
        relay.let_go()
        feed.send(chunk('two '))
        texts.append(next(answer))
        front.proxied.service.signal(signal.SIGHUP)
        feed.send(chunk('three') + b'data: [DONE]\n\n')
        feed.end()
        texts += answer
    told = ''.join(each.choices[0].delta.content or '' for each in texts)
    assert told == 'one two three'
