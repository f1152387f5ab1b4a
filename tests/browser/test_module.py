"""``shmstream.js`` in Chromium, its size, its types and its npm package."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.http.proxied import Feed, Proxied
from tests.support.child import ROOT
from tests.support.chromium import needs_chromium
from tests.support.node import FOLDER, NODE, PACKAGES, needs_node
from tests.support.pages import block
from tests.support.service import Service

MODULE = ROOT / 'shmstream' / 'browser'

HTML = """<!doctype html><script type="module">
import { resumable, restore } from '/_shmstream/shmstream.js'
const options = { as: 'json', store: 'chat' }
window.resumes = []
window.begin = (body) => {
  show(resumable(['/v1/chat/completions', { method: 'POST', body }], options))
}
async function show(answer) {
  window.answer = answer
  window.text = answer.kept ?? ''
  answer.addEventListener('resume', ({ detail }) => window.resumes.push(detail))
  for await (const { text } of answer) answer.keep(window.text += text)
  window.over = answer.state
}
const answer = restore('chat', options)
if (answer) show(answer)
window.ready = true
</script>"""


def event(text: str) -> bytes:
    return b'data: %s\n\n' % json.dumps({'text': text}).encode()


Begun = Callable[[Feed], None]


@pytest.fixture
def begin(proxied: Proxied, page: Page) -> Begun:
    """Begin an answer in a page, whose scripts may use its module."""
    url = f'http://127.0.0.1:{proxied.service.port}/test.html'
    page.route(url, lambda route: route.fulfill(content_type='text/html', body=HTML))
    page.goto(url)
    page.wait_for_function('ready')

    def begin(feed: Feed) -> None:
        page.evaluate('begin', json.dumps({'stream': True, 'feed': feed.token}))

    return begin


def shows(page: Page, text: str) -> bool:
    """Wait until the page has this text."""
    page.wait_for_function('expected => window.text === expected', arg=text)
    return True


def written(proxied: Proxied, conv_id: str, text: str) -> None:
    """Wait until a stream has the events of a text."""
    with proxied.client.open('GET', f'/v1/stream/{conv_id}') as reader:
        reader.until(len(b''.join(map(event, text))))


@needs_chromium
def test_a_reload_goes_on_where_the_page_was(
    proxied: Proxied, page: Page, begin: Begun
) -> None:
    """What was kept is there at once, and what was written meanwhile comes once."""
    feed = proxied.feed(first=event('a'))
    begin(feed)
    assert shows(page, 'a')
    conv_id = page.evaluate('answer.id')
    feed.send(event('b'))
    assert shows(page, 'ab')
    page.goto('about:blank')
    feed.send(event('c'))
    written(proxied, conv_id, 'abc')
    page.go_back()
    assert shows(page, 'abc')
    feed.send(event('d'))
    feed.end()
    assert shows(page, 'abcd')
    page.wait_for_function("window.over === 'complete'")
    page.reload()
    page.wait_for_function("window.over === 'complete'")
    assert page.evaluate('window.text') == 'abcd'


@needs_chromium
def test_a_network_that_is_back_is_used_at_once(
    proxied: Proxied, page: Page, context: BrowserContext, begin: Begun
) -> None:
    """It is told how much it has missed, and who sends the rest."""
    feed = proxied.feed(first=event('a'))
    begin(feed)
    assert shows(page, 'a')
    # From now on it asks again after minutes only, and does not give up meanwhile.
    page.evaluate('Math.random = () => 2e3')
    context.set_offline(True)
    page.evaluate('answer.cut()')
    page.wait_for_function("answer.state === 'waiting'")
    feed.send(event('b'))
    written(proxied, page.evaluate('answer.id'), 'ab')
    context.set_offline(False)
    assert shows(page, 'ab')
    (resume,) = page.evaluate('resumes')
    assert (resume['from'], resume['missed']) == (len(event('a')), len(event('b')))
    feed.end()
    page.wait_for_function("window.over === 'complete'")


@needs_chromium
def test_a_post_under_way_is_left_alone(
    proxied: Proxied, page: Page, begin: Begun
) -> None:
    """By a network that changes, and by a tab that is shown again."""
    feed = proxied.feed(pending=True, first=event('a'))
    begin(feed)
    assert feed.exchange is not None
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("dispatchEvent(new Event('online'))")
    feed.begin()
    feed.end()
    page.wait_for_function("window.over === 'complete'")
    assert page.evaluate('text') == 'a'


@needs_chromium
def test_a_reload_before_the_answer_finds_it(
    proxied: Proxied, page: Page, begin: Begun
) -> None:
    """And not the answer before it, which was kept under the same key."""
    old = proxied.feed(first=event('old'))
    old.end()
    begin(old)
    page.wait_for_function("window.over === 'complete'")
    feed = proxied.feed(pending=True, first=event('new'))
    begin(feed)
    assert feed.exchange is not None
    page.reload()
    page.wait_for_function('window.answer')
    feed.begin()
    feed.end()
    page.wait_for_function("window.over === 'complete'")
    assert page.evaluate('text') == 'new'


@needs_chromium
def test_a_stop_ends_it(proxied: Proxied, page: Page, begin: Begun) -> None:
    feed = proxied.feed(first=event('a'))
    begin(feed)
    assert shows(page, 'a')
    page.evaluate('answer.stop()')
    page.wait_for_function("window.over === 'cancelled'")
    assert feed.hung_up()


@needs_chromium
def test_the_documented_page_shows_an_answer_through_a_reload(
    demo: Service, page: Page
) -> None:
    script = block('docs/browser/shmstream-js.md', 'browser')
    html = f'<!doctype html><body><script type="module">{script}</script>'
    url = f'http://127.0.0.1:{demo.port}/readme.html'
    page.route(url, lambda route: route.fulfill(content_type='text/html', body=html))
    page.goto(url)
    page.wait_for_function("document.body.textContent.includes(' 30 ')")
    before = page.evaluate('document.body.textContent')
    page.reload()
    page.wait_for_function("document.body.textContent.includes(' 200 ')")
    text = page.evaluate('document.body.textContent')
    assert text.startswith(before)
    numbers = [int(word) for word in text.split() if word.isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))


@needs_node
def test_it_has_less_than_four_kilobytes() -> None:
    """Minified and compressed, as applications are shipped."""
    command: list[Any] = [PACKAGES / '.bin' / 'esbuild', '--minify']
    done = subprocess.run(
        [*command, MODULE / 'shmstream.js'], check=True, capture_output=True
    )
    assert 2000 < len(gzip.compress(done.stdout, 9)) < 4096


USE = """
import { resumable, restore, StreamError, type Resumable } from 'shmstream'

const post = { method: 'POST', body: '{}' }
const answer = resumable(['/v1/chat/completions', post], { store: 'a' })
answer.addEventListener('resume', ({ detail }) => detail.missed.toFixed(1))
for await (const { data, id } of answer) answer.keep(data + id)
const found: Resumable<Uint8Array> | null = restore('a', { as: 'bytes' })
try {
  await found?.stop()
} catch (error) {
  if (error instanceof StreamError && error.code === 'lost') error.dropped_prefix
}
"""


@needs_node
def test_its_package_has_its_types(tmp_path: Path) -> None:
    """1. ``npm pack``. 2. Install the tarball. 3. TypeScript finds what is wrong."""
    npm = shutil.which('npm')
    assert npm is not None
    env = {'HOME': str(tmp_path), 'PATH': '/usr/bin:/bin:/usr/local/bin'}
    packed = subprocess.run(
        [npm, 'pack', '--json', '--pack-destination', tmp_path, MODULE],
        check=True,
        capture_output=True,
        env=env,
    )
    (about,) = json.loads(packed.stdout)
    names = {file['path'] for file in about['files']}
    assert names == {'package.json', 'shmstream.d.ts', 'shmstream.js'}
    into = tmp_path / 'node_modules' / 'shmstream'
    into.mkdir(parents=True)
    tarball = tmp_path / about['filename']
    subprocess.run(
        ['tar', 'xf', tarball, '-C', into, '--strip-components=1'], check=True
    )

    def checked(text: str) -> str:
        (tmp_path / 'use.ts').write_text(text)
        compiler = FOLDER / 'node_modules' / 'typescript' / 'bin' / 'tsc'
        options = ['--strict', '--noEmit', '--target', 'es2022', '--module', 'nodenext']
        done = subprocess.run(
            [NODE, compiler, *options, '--lib', 'es2022,dom', 'use.ts'],
            cwd=tmp_path,
            capture_output=True,
        )
        return done.stdout.decode()

    (tmp_path / 'package.json').write_text('{"type": "module"}')
    assert checked(USE) == ''
    assert 'nothing' in checked(USE.replace('detail.missed', 'detail.nothing'))
