"""What a line looks like: nothing forges one, and nothing fills the log."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from shmstream import SettingsError
from shmstream.logs.cause import Cause, cause_of
from shmstream.logs.form import id_form
from shmstream.logs.json_lines import JsonLines
from shmstream.logs.life_line import LifeLine
from shmstream.logs.repeats import BURST, WINDOW_S, Repeats
from shmstream.logs.shown_path import shown_path
from shmstream.logs.trace_context import NO_TRACE, TraceContext, trace_context

TRACE, SPAN = 'ab' * 16, 'cd' * 8
PARENT = f'00-{TRACE}-{SPAN}-01'


@pytest.mark.parametrize(
    'hostile', ['a\u2028b', 'a b', 'a" state="x', '\u202ered', 'a\\', 'é', 'x=y', '']
)
def test_an_id_forges_neither_a_line_nor_a_field(hostile: str) -> None:
    text = str(LifeLine({'conversation_id': hostile, 'bytes': 3}))
    assert text.isascii()
    assert text.isprintable()
    head, _, rest = text.partition('conversation_id=')
    assert head == 'stream ended: '
    assert json.JSONDecoder().raw_decode(rest) == (hostile, len(rest) - len(' bytes=3'))


def test_a_record_in_json_is_one_line_with_all_that_was_added() -> None:
    try:
        raise ValueError('two\nlines')
    except ValueError:
        record = logging.LogRecord(
            *('shmstream', logging.ERROR, 'f.py', 1, 'bad\n%s', ('x\n',)),
            sys.exc_info(),
        )
    record.bytes = 7
    record._own = 8
    text = JsonLines().format(record)
    assert '\n' not in text
    line = json.loads(text)
    assert (line['message'], line['level'], line['bytes']) == ('bad\nx\n', 'error', 7)
    assert line['exception'].endswith('ValueError: two\nlines')
    assert '_own' not in line


@pytest.mark.parametrize(
    ('headers', 'expected'),
    [
        ([], NO_TRACE),
        ([(b'X-Request-Id', b'a-1')], TraceContext('a-1')),
        ([(b'traceparent', PARENT.encode())], ('', TRACE, SPAN)),
        (
            [(b'Traceparent', b' 01' + PARENT[2:].encode() + b'-more')],
            ('', TRACE, SPAN),
        ),
        # Whoever sends these must not write into the log.
        ([(b'x-request-id', b'a b')], NO_TRACE),
        ([(b'x-request-id', b'a\x1b[2J')], NO_TRACE),
        ([(b'x-request-id', b'"')], NO_TRACE),
        ([(b'x-request-id', 'é'.encode())], NO_TRACE),
        ([(b'x-request-id', b'')], NO_TRACE),
        ([(b'x-request-id', b'a' * 129)], NO_TRACE),
        ([(b'x-request-id', b'a'), (b'x-request-id', b'b')], NO_TRACE),
        ([(b'traceparent', b'ff' + PARENT[2:].encode())], NO_TRACE),
        ([(b'traceparent', PARENT.encode() + b'-more')], NO_TRACE),
        ([(b'traceparent', PARENT.upper().encode())], NO_TRACE),
        ([(b'traceparent', f'00-{"0" * 32}-{SPAN}-01'.encode())], NO_TRACE),
        ([(b'traceparent', f'00-{TRACE}-{"0" * 16}-01'.encode())], NO_TRACE),
        ([(b'traceparent', b'01' + PARENT[2:].encode() + b'-' * 300)], NO_TRACE),
        ([(b'traceparent', PARENT.encode())] * 2, NO_TRACE),
    ],
)
def test_only_valid_ids_of_a_request_are_taken(
    headers: list[tuple[bytes, bytes]], expected: TraceContext | tuple[str, str, str]
) -> None:
    if isinstance(expected, tuple):
        request_id, trace_id, span_id = expected
        expected = TraceContext(request_id, int(trace_id, 16), int(span_id, 16))
    assert trace_context(headers) == expected


def warning(
    text: str, *args: object, name: str = 'shmstream.http'
) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, 'f.py', 1, text, args, None)


def test_a_fault_that_repeats_is_counted_and_told_once_in_a_while() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    logged = [repeats.filter(warning('%s: broke', i)) for i in range(BURST + 7)]
    assert logged == [True] * BURST + [False] * 7
    # Another fault, and what is no fault, and what is not ours, is logged.
    assert repeats.filter(warning('other'))
    assert repeats.filter(warning('%s: broke', 1, name='gunicorn.error'))
    info = warning('%s: broke', 1)
    info.levelno = logging.INFO
    assert all(repeats.filter(info) for _ in range(BURST * 2))
    now = WINDOW_S
    last = warning('%s: broke', '100 %')
    # Two handlers ask about the same record.
    assert repeats.filter(last)
    assert repeats.filter(last)
    assert last.getMessage() == '100 %: broke (7 more were not logged)'
    assert repeats.filter(again := warning('%s: broke', 2))
    assert again.getMessage() == '2: broke'


def test_numbers_of_causes_stay_and_unknown_ones_are_unknown() -> None:
    assert [int(cause) for cause in Cause] == list(range(15))
    assert cause_of(1 << 63) is Cause.UNKNOWN
    assert Cause.NO_ROOM.label == 'no room'


def test_ids_that_must_not_be_shown_are_not_shown_by_a_misspelt_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('SHMSTREAM_LOG_IDS', 'hash')
    with pytest.raises(SettingsError, match='SHMSTREAM_LOG_IDS: must be plain, hashed'):
        id_form()


@pytest.mark.parametrize(
    ('target', 'shown'),
    [
        ('/v1/stream/secret%2Fid?token=secret', '/v1/stream/*'),
        ('/a/v1/events/secret/stream', '/a/v1/events/*'),
        ('/v1/responses/secret/cancel', '/v1/responses/*'),
        ('/api/chat/secret%2Fid/stream', '/api/chat/*/stream'),
        ('/v1/models?secret', '/v1/models'),
        # These are decoded before their routes are found.
        ('/%76%31/stream/secret', '/*'),
        ('/v1%2Fevents/secret/a/stream', '/*'),
        ('/api/chat/secret/%73top', '/*'),
    ],
)
def test_a_path_hides_the_id_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, target: str, shown: str
) -> None:
    monkeypatch.setenv('SHMSTREAM_LOG_IDS', 'none')
    assert shown_path(target) == shown
    monkeypatch.setenv('SHMSTREAM_LOG_IDS', 'plain')
    assert shown_path(target) == target.partition('?')[0]


def test_a_path_forges_no_line_and_steers_no_terminal() -> None:
    hostile = '/a\n127.0.0.1 "GET /b" 200\x1b[2J\u2028\x9b'
    assert shown_path(hostile, ids=True) == (
        '/a%0A127.0.0.1%20"GET%20/b"%20200%1B[2J%E2%80%A8%C2%9B'
    )
