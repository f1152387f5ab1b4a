"""The demonstration page of the service, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Route, expect

from tests.browser.conftest import WAIT_MS
from tests.browser.demonstration import Demonstration, check_counts
from tests.http.proxied import Proxied
from tests.support.chromium import needs_chromium
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.service import Service
from tests.support.upstream import Exchange

pytestmark = needs_chromium

KEY = 'sesame-0123456789'


@pytest.fixture(autouse=True)
def patient() -> None:
    expect.set_options(timeout=WAIT_MS)


@pytest.fixture
def shown(demo: Service, page: Page) -> Iterator[Demonstration]:
    """The page in front of the demo model; the console has no error of its own."""
    errors: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        # Lost connections, and streams that are gone, are what the page is about.
        if said.type == 'error' and 'Failed to load resource' not in said.text:
            errors.append(said.text)

    page.on('console', hear)
    shown = Demonstration(page)
    shown.open(demo.port)
    yield shown
    assert errors == []


@pytest.fixture(scope='module')
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that wants a key, and whose workers may die."""
    log = tmp_path_factory.mktemp('guarded') / 'service.log'
    settings = {'API_KEYS': KEY}
    with Service(log, settings=settings, expected=('aborted',)) as service:
        yield service


def test_the_wire_is_cut_and_the_text_goes_on_where_it_was(
    shown: Demonstration,
) -> None:
    shown.start()
    shown.cut()
    kept, plain = shown.text(), shown.text('plain')
    assert shown.page.inner_text('#behind').endswith(' behind')
    shown.grows('written')
    assert (shown.text(), shown.text('plain')) == (kept, plain)
    shown.resume()
    ((seconds, missed, _),) = shown.seams()
    assert float(seconds) > 0
    assert int(missed.replace(',', '')) > 0
    assert shown.page.inner_text('#status').startswith('Resumed: ')
    assert shown.text().startswith(kept)
    check_counts(shown.text())
    # What was written meanwhile is marked as such. The other lane never has it.
    assert kept + shown.page.locator('.part.missed').all_text_contents()[0] in (
        shown.text()
    )
    assert shown.text('plain') == plain
    expect(shown.page.locator('#plain')).to_contain_text('bytes missing')
    shown.stop()
    assert shown.status() == 'Stopped, at the server as well'
    expect(shown.page.locator('#main')).to_have_text('Start again')


def test_that_nothing_is_lost_is_said_only_if_it_is_so(
    demo: Service, shown: Demonstration
) -> None:
    shown.start()
    shown.cut()
    generation = shown.fact('Generation')

    def forge(route: Route) -> None:
        offset = parse_qs(urlsplit(route.request.url).query)['from'][0]
        head = {'Stream-Generation': generation, 'Stream-State': 'live'}
        head |= {'Stream-Offset': offset, 'Stream-Total-Bytes': offset}
        body = 'data: {"choices": [{"delta": {"content": "12345 "}}]}\n\n'
        route.fulfill(headers=head, content_type='text/event-stream', body=body)

    shown.page.route(re.compile(r'/v1/stream.*from='), forge)
    shown.page.click('#main')
    expect(shown.page.locator('#status')).to_contain_text('Something is wrong')
    seam = shown.page.locator('.seam').first.inner_text()
    assert seam.endswith('got “12345”')
    assert shown.seams() == []
    demo.client().delete(path(shown.fact('Conversation')))


def test_an_answer_is_read_to_its_end(shown: Demonstration) -> None:
    shown.pace(1000, 100)
    shown.press('complete')
    numbers = len(shown.text().partition('restart a worker. ')[2].split())
    assert shown.status() == f'Complete: 1 to {numbers}, nothing lost, doubled or torn'
    expect(shown.page.locator('#plain')).to_contain_text('Nothing has happened to it')
    assert shown.text('plain') == shown.text()
    shown.press('streaming')
    shown.reaches('complete')
    check_counts(shown.text(), numbers)


def test_a_reload_goes_on_where_the_page_was(shown: Demonstration) -> None:
    shown.start()
    shown.page.click('#reload')
    shown.reaches('streaming')
    shown.resumes(0)
    check_counts(shown.text())
    expect(shown.page.locator('#plain')).to_contain_text('Broken off')
    shown.stop()
    text = shown.text()
    shown.page.click('#reload')
    shown.reaches('cancelled')
    assert shown.text() == text


def test_a_second_tab_reads_from_the_start(
    shown: Demonstration, context: BrowserContext
) -> None:
    shown.start()
    with context.expect_page() as opened:
        shown.page.click('#second')
    second = Demonstration(opened.value)
    second.reaches('streaming')
    assert wait_until(lambda: second.number('read') >= shown.number('read') - 10_000)
    check_counts(second.text())
    second.cut()
    second.resume()
    check_counts(second.text())
    assert shown.seams() == []
    shown.stop()
    second.reaches('cancelled')


def test_what_has_become_of_an_answer_that_is_not_there_any_more(
    demo: Service, page: Page
) -> None:
    shown = Demonstration(page)
    shown.open(demo.port)
    for phase in ('replaced', 'gone'):
        shown.start() if phase == 'replaced' else shown.press('streaming')
        conv_id = shown.fact('Conversation')
        shown.cut()
        if phase == 'replaced':
            with demo.client().post(conv_id, {'max_tokens': 1}) as post:
                post.rest()
        else:
            demo.client().delete(path(conv_id))
        shown.press(phase)
        expect(page.locator('#main')).to_have_text('Start again')


def test_the_workers_are_replaced_meanwhile(
    demo: Service, shown: Demonstration
) -> None:
    shown.start()
    shown.cut()
    shown.resume()
    before = shown.fact('Sent by worker')
    shown.page.click('#restart')
    shown.resumes(1)
    assert shown.fact('Sent by worker') != before
    check_counts(shown.text())
    shown.stop()


def test_it_asks_for_a_key_and_workers_die_under_it(
    guarded: Service, page: Page
) -> None:
    shown = Demonstration(page)
    shown.open(guarded.port)
    for key in ('wrong', KEY):
        shown.reaches('key')
        page.fill('#key', key)
        page.keyboard.press('Enter')
    shown.reaches('idle')
    shown.start()
    kill = page.locator('#kill')
    # Until it is read from another worker than the one that writes it.
    while 'and the answer with it' in kill.inner_text():
        shown.cut()
        shown.resume()
    seams = len(shown.seams())
    kill.click()
    shown.resumes(seams)
    check_counts(shown.text())
    while 'and the answer with it' not in kill.inner_text():
        shown.cut()
        shown.resume()
    kill.click()
    shown.reaches('aborted')
    assert 'the producer of this stream has died' in shown.status()
    check_counts(shown.text())


def test_a_phone_and_a_keyboard_are_enough(
    demo: Service, context: BrowserContext
) -> None:
    page = context.new_page()
    page.set_viewport_size({'width': 390, 'height': 844})
    page.emulate_media(reduced_motion='reduce')
    shown = Demonstration(page)
    shown.open(demo.port)
    while page.evaluate('document.activeElement.id') != 'main':
        page.keyboard.press('Tab')
    for phase in ('streaming', 'cut', 'streaming'):
        page.keyboard.press('Enter')
        shown.reaches(phase)
    # All that matters is on the first screen, and the answer is the most of it.
    wide, high = page.evaluate('[document.body.scrollWidth, innerHeight]')
    assert wide == 390
    heights = {}
    for part in ('#wire', '#main', '#status', '#answer'):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box['y'] >= 0
        assert box['y'] + box['height'] <= high
        heights[part] = box['height']
    assert heights['#answer'] > high / 2
    moves = 'document.getAnimations().map(({ playState }) => playState)'
    assert page.evaluate(moves) == []
    while page.evaluate('document.activeElement.id') != 'stop':
        page.keyboard.press('Tab')
    page.keyboard.press('Enter')
    shown.reaches('cancelled')


def test_in_front_of_an_upstream_there_is_a_question(
    proxied: Proxied, page: Page
) -> None:
    asked: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        if exchange.target == '/v1/models':
            exchange.reply(200, b'{"data": [{"id": "large"}]}')
            return
        asked.append(exchange)
        exchange.start_stream()
        exchange.chunk(b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\n')
        exchange.break_off()

    proxied.script = answer
    page.goto(f'http://127.0.0.1:{proxied.service.port}/_shmstream/')
    shown = Demonstration(page)
    page.fill('#prompt', 'And then?')
    page.keyboard.press('Enter')
    shown.reaches('aborted')
    assert shown.text() == 'Once'
    assert shown.status().startswith('The answer ends here, and says why: ')
    for button in ('#kill', '#restart'):
        assert page.locator(button).is_hidden()
    (question,) = asked
    assert b'"model":"large"' in question.body
    assert b'And then?' in question.body
