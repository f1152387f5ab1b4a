"""What the log says of the way upstream, and of sessions that are not made."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from tests.http.conftest import Watch
from tests.http.raw import Behind, behind
from tests.http.wire import assert_error, numbered
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.raw_upstream import SSE, Link, Script

BODY = numbered(32)
NO_SESSION = 'no session for POST /v1/chat/completions: '


@pytest.fixture(scope='module')
def module(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Behind]:
    log = tmp_path_factory.mktemp('words') / 'service.log'
    with behind(log, settings={'UPSTREAM_FIRST_BYTE_TIMEOUT': '1'}) as both:
        watch_module(both.service)
        yield both


@pytest.fixture
def both(module: Behind) -> Behind:
    module.log_lines()
    return module


def replying(*lines: bytes, status: bytes = b'200 OK', body: bytes = BODY) -> Script:
    """A script that answers one request so, and closes: the next meets the next one."""

    def script(link: Link) -> None:
        link.request()
        link.reply(body, b'Connection: close', *lines, status=status)

    return script


def logged(both: Behind, words: str) -> list[str]:
    """The log lines since the test began, once these words are in one of them.

    Without the one about the stream, which every stream has, and which is later.
    """
    lines: list[str] = []

    def there() -> bool:
        lines.extend(both.log_lines())
        return any(words in line for line in lines)

    assert wait_until(there, 20), lines
    return [line for line in lines if 'stream ended: ' not in line]


@pytest.mark.parametrize(
    'coding', ['none', 'utf-8', 'UTF8', 'identity', '', 'identity, none']
)
def test_f85_a_coding_that_is_none_is_no_obstacle(both: Behind, coding: str) -> None:
    both.does(
        replying(
            b'Content-Type: text/event-stream', b'Content-Encoding: ' + coding.encode()
        )
    )
    with both.client.post('plain', {}) as post:
        assert post.rest() == BODY
        assert 'stream-generation' in post.headers
    assert both.client.get(path('plain')).body == BODY


@pytest.mark.parametrize(
    ('answer', 'why'),
    [
        (
            replying(
                b'Content-Type: text/event-stream',
                b'Content-Encoding: gzip',
                body=gzip.compress(BODY),
            ),
            "its Content-Encoding is 'gzip'",
        ),
        (
            replying(b'Content-Type: application/json', body=b'{}'),
            "its Content-Type is 'application/json', no stream",
        ),
        (replying(), "its Content-Type is '', no stream"),
        (replying(status=b'429 Too Many Requests'), 'its status is 429'),
        (replying(status=b'205 Reset Content', body=b''), 'its status is 205'),
    ],
    ids=['gzip', 'json', 'untyped', '429', '205'],
)
def test_f85_an_id_without_a_session_is_one_log_line(
    both: Behind, answer: Script, why: str
) -> None:
    both.does(answer)
    with both.client.post('none', {}) as post:
        post.rest()
        assert 'stream-generation' not in post.headers
    lines = logged(both, NO_SESSION)
    assert [line.partition(NO_SESSION)[2] for line in lines] == [why]


def test_without_an_id_nothing_is_missing(both: Behind) -> None:
    both.does(replying())
    with both.client.post(None, {}) as post:
        post.rest()
    # A later line is there, and none before it.
    with both.client.post('later', {}) as post:
        post.rest()
    assert len(logged(both, NO_SESSION)) == 1


@pytest.mark.parametrize('conv_id', [None, 'unanswered'])
def test_f81_no_answer_is_the_cause_in_words_and_one_log_line(
    both: Behind, conv_id: str | None
) -> None:
    def hangs_up(link: Link) -> None:
        link.request()

    def waits(link: Link) -> None:
        link.wait_closed()

    for script, status, why in (
        (hangs_up, 502, 'upstream cannot be reached: it hung up before it answered'),
        (waits, 504, 'upstream did not answer in time: nothing came within 1 s'),
    ):
        both.does(script)
        with both.client.post(conv_id, {}) as post:
            assert_error(post, status, why)
        lines = logged(both, why)
        assert len(lines) == 1, lines
        assert f'POST /v1/chat/completions: {why} ({both.upstream.url})' in lines[0]


@pytest.mark.parametrize('conv_id', [None, 'again'])
def test_f84_a_post_on_a_dead_connection_is_sent_once_more(
    both: Behind, conv_id: str | None
) -> None:
    counted: list[int] = []

    def script(link: Link) -> None:
        for number in range(2):
            if link.request() is None:
                return
            counted.append(link.number)
            if number == 0:
                link.reply(BODY, b'Content-Type: text/event-stream')

    both.does(script)
    for _ in range(4):
        with both.client.post(conv_id, {}) as post:
            assert (post.status, post.rest()) == (200, BODY)
    # Every other one met a connection that died of it.
    assert len(counted) > len(set(counted))


def test_f80_silence_is_an_end_whatever_the_client_library_does(both: Behind) -> None:
    def script(link: Link) -> None:
        link.request()
        link.send(SSE + b'\r\n' + BODY)
        link.wait_closed()

    both.does(script)
    with both.client.post('silent', {}) as post, both.client.post(None, {}) as passed:
        assert b'upstream fell silent' in post.rest()
        assert passed.rest() == BODY
        assert passed.whole is False
