"""Spans, by the real SDK in real workers, set up as the documentation says."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.proxied import Proxied, proxied_with
from tests.http.wire import one_per_worker
from tests.logs.lines import life, until_followed
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.service import ROOT
from tests.test_weight import modules, roots

Span = dict[str, Any]

TRACE, SPAN = 'ab' * 16, 'cd' * 8
PARENT = f'00-{TRACE}-{SPAN}-01'
EVENT = b'data: the content\n\n'


@pytest.fixture(scope='module')
def spans_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('spans') / 'spans'


@pytest.fixture(scope='module')
def proxied(spans_file: Path) -> Iterator[Proxied]:
    with proxied_with(
        {'LOG_FORMAT': 'json'},
        log=spans_file.with_name('service.log'),
        workers=2,
        config=ROOT / 'tests/logs/traced_conf.py',
        # Spans are exported after this many milliseconds.
        environment={'SPANS': str(spans_file), 'OTEL_BSP_SCHEDULE_DELAY': '50'},
    ) as proxied:
        yield proxied


def exported(file: Path) -> list[Span]:
    """All spans so far; the last line may be half written."""
    text = file.read_text() if file.exists() else ''
    return [json.loads(line) for line in text[: text.rfind('\n') + 1].splitlines()]


def spans(file: Path, generation: str) -> dict[str, Span]:
    """Wait for the spans of a stream; return them by their names."""
    found: dict[str, Span] = {}

    def all_there() -> bool:
        every = exported(file)
        mine = [
            span
            for span in every
            if span['attributes'].get('shmstream.generation') == generation
        ]
        posts = [s for s in mine if s['name'] == 'shmstream.post']
        if not posts:
            return False
        trace = posts[0]['context']['trace_id']
        mine += [s for s in every if s['context']['trace_id'] == trace]
        found.update({span['name']: span for span in mine})
        return {'shmstream.upstream', 'shmstream.resume'} <= set(found)

    assert wait_until(all_there), found
    return found


def identity(span: Span) -> tuple[int, int]:
    context = span['context']
    return int(context['trace_id'], 16), int(context['span_id'], 16)


def test_a_stream_that_is_resumed_at_another_worker(
    proxied: Proxied, spans_file: Path
) -> None:
    feed = proxied.feed(first=EVENT)
    with (
        proxied.post('traced', feed, traceparent=PARENT, tracestate='a=1') as post,
        one_per_worker(proxied.service.port, 2) as workers,
    ):
        post.until(len(EVENT))
        other = next(each for each in workers if each.worker != post.worker)
        resumed = other.open('GET', path('traced', 6))
        resumed.until(1)
        until_followed(proxied.service.directory, 'traced', 2)
        feed.send(b'data: [DONE]\n\n')
        feed.end()
        resumed.rest()
        post.rest()
    generation = post.headers['stream-generation']
    found = spans(spans_file, generation)
    stream, upstream = found['shmstream.post'], found['shmstream.upstream']
    first, resume = found['shmstream.first_byte'], found['shmstream.resume']
    assert identity(stream)[0] == int(TRACE, 16)
    assert stream['parent_id'] == f'0x{SPAN}'
    assert upstream['parent_id'] == stream['context']['span_id']
    assert first['parent_id'] == upstream['context']['span_id']
    assert first['end_time'] <= upstream['end_time'] <= stream['end_time']
    # The upstream goes on with the span that asked it.
    sent = dict(feed.exchange.headers)
    assert sent['traceparent'].split('-')[1:3] == [
        upstream['context'][name][2:] for name in ('trace_id', 'span_id')
    ]
    assert sent['tracestate'] == 'a=1'
    # The resume is a trace of its own, in another process, with a link to this one.
    assert identity(resume)[0] != identity(stream)[0]
    (link,) = resume['links']
    assert link['context']['trace_id'] == stream['context']['trace_id']
    assert link['context']['span_id'] == stream['context']['span_id']
    assert resume['attributes']['shmstream.from'] == 6
    told = {
        name.removeprefix('shmstream.'): value
        for name, value in stream['attributes'].items()
    }
    line = life(proxied.service.text, generation=generation)
    assert told.items() <= line.items()
    assert line['trace_id'] == TRACE
    assert upstream['attributes'] == {'http.response.status_code': 200}
    assert 'the content' not in spans_file.read_text()
    assert 'traced' not in json.dumps(list(found.values()))


def test_spans_of_a_worker_that_leaves_are_exported(
    proxied: Proxied, spans_file: Path
) -> None:
    feed = proxied.feed(first=EVENT)
    with proxied.post('left', feed) as post:
        post.until(len(EVENT))
        proxied.service.signal(signal.SIGHUP)
        assert wait_until(lambda: proxied.service.text().count('listening on') == 4)
        feed.break_off()
        post.rest()
    generation = post.headers['stream-generation']

    def there() -> list[Span]:
        return [
            span
            for span in exported(spans_file)
            if span['attributes'].get('shmstream.generation') == generation
        ]

    assert wait_until(lambda: bool(there()))
    (stream,) = there()
    assert stream['status']['status_code'] == 'ERROR'
    assert stream['attributes']['shmstream.cause'] == 'upstream'
    # Without a traceparent it is a trace of its own.
    assert stream['parent_id'] is None


def test_a_worker_without_opentelemetry_imports_none_of_it() -> None:
    found = modules(
        'import shmstream.http.app\n'
        'from shmstream.http import spans\n'
        'from shmstream.serving.request import Request\n'
        'assert spans.of_post([]) is None\n'
        "assert not spans.resumes(Request('GET', b'c', b'from=5'))"
    )
    assert 'opentelemetry' not in roots(found)
