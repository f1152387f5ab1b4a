"""All dialects through all ways in which a stream can end: one matrix.

The upstream is one of raw sockets. For every stream three readers are compared: the
POST's own response, a follower, and a replay after the end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmstream.http.answer_writer import AFTER_END_S
from tests.dialects.samples import SAMPLES, Sample, told
from tests.http.conftest import Watch
from tests.http.wire import Pinned, assert_error, one_per_worker
from tests.support.client import Client, Live, path
from tests.support.ends import failure
from tests.support.faulty import FAULTS, FaultyAnswer, FaultyUpstream
from tests.support.leaks import wait_until
from tests.support.service import Service

BROKE = 'upstream broke off the stream'
SILENT = 'upstream fell silent'
DIED = 'the producer of this stream has died'
LEFT = 'the producing worker has shut down'

SILENCE_S = 1.5
"""Of the upstream: longer than an end may be kept open."""

PLAIN = 'text/plain; charset=utf-8'

dialects = pytest.mark.parametrize('name', SAMPLES)


STOPS = {
    'chat': b'"choices":[{"index":0,"delta":{},"finish_reason":"cancelled"}]}\n\n'
    b'data: [DONE]\n\n',
    'completions': b'"text":"","logprobs":null,"finish_reason":"cancelled"}]}\n\n'
    b'data: [DONE]\n\n',
    'responses': b'"incomplete_details":{"reason":"cancelled"},"output":[],'
    b'"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}}\n\n',
    'llama-responses': b'"incomplete_details":{"reason":"cancelled"},"output":[],'
    b'"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}}\n\n',
    'anthropic': b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    'ui': b'data: {"type":"abort","reason":"stopped"}\n\ndata: [DONE]\n\n',
    'langgraph': b'event: end\ndata: null\n\n',
    'ag-ui': b'"runId":"r","finishReason":"cancelled"}\n\n',
    'events': b'',
    'ollama': b'"done": true, "done_reason": "cancelled"}\n',
    'lines': b'',
    'records': b'',
}
"""How the stop of each ends."""


class Bench:
    """The service, and what it asks."""

    def __init__(self, service: Service, upstream: FaultyUpstream) -> None:
        self.service = service
        self.upstream = upstream
        self.client = service.client()

    def answer(
        self, name: str, length: int | None = None, *, framed: bool = True
    ) -> FaultyAnswer:
        """The upstream's answer in this dialect, to be asked for."""
        sample = SAMPLES.get(name)
        kind = PLAIN if sample is None else sample.content_type
        headers = () if sample is None else sample.headers
        answer = FaultyAnswer(kind, headers, length, framed=framed)
        return self.upstream.add(name, answer)

    def post(self, name: str, conv_id: str, via: Client | Pinned | None = None) -> Live:
        """Ask for it."""
        headers = {'X-Conversation-Id': conv_id, 'Content-Type': 'application/json'}
        body = b'{"stream": true}'
        via = via or self.client
        return via.open('POST', f'/v1/x?answer={name}', body, headers)

    def pinned(self, stack: ExitStack, wanted: Callable[[int], bool]) -> Pinned:
        """A connection to a worker that is wanted, by its pid."""
        for _ in range(1000):
            pinned = stack.enter_context(Pinned(self.service.port))
            if wanted(pinned.worker):
                return pinned
        raise AssertionError('no such worker accepts connections')

    def state(self, conv_id: str) -> str:
        """What a look-up says."""
        (found,) = self.client.lookup(conv_id)
        return str(found['state'])


@pytest.fixture(scope='module')
def bench_module(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Bench]:
    log = tmp_path_factory.mktemp('dialects') / 'service.log'
    with FaultyUpstream() as upstream:
        settings = {
            'UPSTREAM': upstream.url,
            'UPSTREAM_FIRST_BYTE_TIMEOUT': str(SILENCE_S),
            'STREAM_TYPES': 'text/plain, audio/*',
        }
        with Service(log, workers=3, settings=settings) as service:
            watch_module(service)
            yield Bench(service, upstream)


@pytest.fixture
def bench(bench_module: Bench) -> Bench:
    return bench_module


@pytest.fixture
def own_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Start a service of a test's own."""
    with ExitStack() as stack:

        def start(expected: tuple[str, ...] = (), **settings: str) -> Bench:
            upstream = stack.enter_context(FaultyUpstream())
            settings |= {'UPSTREAM': upstream.url, 'STREAM_TYPES': 'text/plain'}
            service = Service(
                tmp_path / 'own.log', settings=settings, expected=expected
            )
            return Bench(stack.enter_context(service), upstream)

        yield start


def check(bench: Bench, conv_id: str, readers: list[Live], whole: bytes) -> None:
    """All readers, and a replay, get exactly this and a clean end."""
    for reader in readers:
        assert reader.rest() == whole
        assert reader.whole
    reply = bench.client.get(path(conv_id))
    assert reply.body == whole
    assert reply.whole
    assert bench.client.get(path(conv_id, 5)).body == whole[5:]


def half(sample: Sample) -> bytes:
    """Half an event."""
    return sample.events[-1][: len(sample.events[-1]) // 2]


# -- failures --------------------------------------------------------------------------


@dialects
@pytest.mark.parametrize('fault', [*FAULTS, 'short'])
def test_f70_an_upstream_that_breaks_off(bench: Bench, name: str, fault: str) -> None:
    """After half of an event: the whole ones, and what tells it."""
    sample, conv_id = SAMPLES[name], f'{name}-{fault}'
    answer = bench.answer(name, 10_000 if fault == 'short' else None)
    with (
        bench.post(name, conv_id) as post,
        bench.client.open('GET', path(conv_id)) as reader,
    ):
        answer.send(sample.begun + half(sample))
        assert post.until(len(sample.begun)) == sample.begun
        answer.fail('fin' if fault == 'short' else fault)
        check(bench, conv_id, [post, reader], sample.begun + told(SAMPLES[name], BROKE))
    assert bench.state(conv_id) == 'aborted'


def test_f70_an_upstream_that_falls_silent(bench: Bench) -> None:
    with ExitStack() as stack:
        posts = {}
        for name, sample in SAMPLES.items():
            answer = bench.answer(name)
            posts[name] = stack.enter_context(bench.post(name, f'{name}-silent'))
            answer.send(sample.begun + half(sample))
        for name, post in posts.items():
            whole = SAMPLES[name].begun + told(SAMPLES[name], SILENT)
            check(bench, f'{name}-silent', [post], whole)


@dialects
def test_f70_an_upstream_that_breaks_off_before_its_first_event(
    bench: Bench, name: str
) -> None:
    answer = bench.answer(name)
    with bench.post(name, f'{name}-first') as post:
        answer.send(half(SAMPLES[name]))
        answer.fail('reset')
        expected = told(SAMPLES[name], BROKE, begun=False)
        check(bench, f'{name}-first', [post], expected)


def test_f70_the_death_of_the_worker(own_bench: Callable[..., Bench]) -> None:
    bench = own_bench(expected=('was sent SIGKILL', 'aborted'))
    with one_per_worker(bench.service.port) as workers, ExitStack() as stack:
        victim, *_ = workers
        followers = {}
        for name, sample in SAMPLES.items():
            answer = bench.answer(name)
            pinned = bench.pinned(stack, lambda pid: pid == victim.worker)
            bench.post(name, name, pinned)
            answer.send(sample.begun + half(sample))
        for name in SAMPLES:
            reader = bench.pinned(stack, lambda pid: pid != victim.worker)
            followers[name] = reader.open('GET', path(name))
            followers[name].until(len(SAMPLES[name].begun))
        os.kill(victim.worker, signal.SIGKILL)
        for name, follower in followers.items():
            whole = SAMPLES[name].begun + told(SAMPLES[name], DIED)
            check(bench, name, [follower], whole)
            assert bench.state(name) == 'aborted'


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGTERM])
def test_f70_the_end_of_the_drain_and_of_the_service(
    own_bench: Callable[..., Bench], number: signal.Signals
) -> None:
    bench = own_bench(DRAIN='0.2')
    with ExitStack() as stack:
        posts = {}
        for name, sample in SAMPLES.items():
            answer = bench.answer(name)
            posts[name] = stack.enter_context(bench.post(name, name))
            answer.send(sample.begun + half(sample))
            posts[name].until(len(sample.begun))
        bench.service.signal(number)
        for name, post in posts.items():
            assert post.rest() == SAMPLES[name].begun + told(SAMPLES[name], LEFT)
            assert post.whole


# -- ends ------------------------------------------------------------------------------


@pytest.mark.parametrize('name', [n for n in SAMPLES if SAMPLES[n].end])
@pytest.mark.parametrize('fault', [*FAULTS, 'short', 'end'])
def test_f71_an_answer_that_says_that_it_is_over_is_complete(
    bench: Bench, name: str, fault: str
) -> None:
    sample, conv_id = SAMPLES[name], f'{name}-over-{fault}'
    whole = sample.begun + sample.end
    answer = bench.answer(name, len(whole) + 9 if fault == 'short' else None)
    with (
        bench.post(name, conv_id) as post,
        bench.client.open('GET', path(conv_id)) as reader,
    ):
        answer.send(whole)
        answer.fail('fin' if fault == 'short' else fault)
        check(bench, conv_id, [post, reader], whole)
    assert bench.state(conv_id) == 'complete'


def test_f71_and_so_it_is_if_the_connection_stays_open(bench: Bench) -> None:
    with ExitStack() as stack:
        posts, answers = {}, {}
        for name, sample in SAMPLES.items():
            if sample.end:
                answers[name] = bench.answer(name)
                posts[name] = stack.enter_context(bench.post(name, f'{name}-open'))
                answers[name].send(sample.begun + sample.end)
        for name, post in posts.items():
            whole = SAMPLES[name].begun + SAMPLES[name].end
            check(bench, f'{name}-open', [post], whole)
            assert bench.state(f'{name}-open') == 'complete'
            assert answers[name].hung_up()


def test_f71_what_the_upstream_adds_after_its_end_is_passed_on(bench: Bench) -> None:
    whole = SAMPLES['chat'].begun + SAMPLES['chat'].end
    answer = bench.answer('chat')
    with bench.post('chat', 'adds') as post:
        answer.send(whole)
        post.until(len(whole))
        answer.send(b': bye\n\n: half')
        answer.fail('reset')
        check(bench, 'adds', [post], whole + b': bye\n\n')


@dialects
def test_f71_the_end_of_a_body_is_the_end_of_what_is_held(
    bench: Bench, name: str
) -> None:
    """A last line need not have a line end, nor a last event its blank line."""
    sample = SAMPLES[name]
    answer = bench.answer(name)
    with bench.post(name, f'{name}-body') as post:
        answer.send(sample.begun + half(sample))
        answer.fail('end')
        check(bench, f'{name}-body', [post], sample.begun + half(sample))
    assert bench.state(f'{name}-body') == 'complete'


# -- bodies that end with their connection ---------------------------------------------


@dialects
@pytest.mark.parametrize('sent', ['half', 'events', 'all'])
def test_f75_a_body_without_framing_is_complete_only_if_it_can_be(
    bench: Bench, name: str, sent: str
) -> None:
    """A source that dies closes its connection just as one that is ready does."""
    sample, conv_id = SAMPLES[name], f'{name}-unframed-{sent}'
    more = {'half': half(sample), 'events': b'', 'all': sample.end}[sent]
    complete = name in ('events', 'lines', 'records') if sent != 'half' else False
    complete = complete or (sent == 'all' and bool(sample.end))
    answer = bench.answer(name, framed=False)
    with bench.post(name, conv_id) as post:
        answer.send(sample.begun + more)
        post.until(len(sample.begun))
        answer.fail('fin')
        whole = sample.begun + (more if complete else told(SAMPLES[name], BROKE))
        check(bench, conv_id, [post], whole)
    assert bench.state(conv_id) == ('complete' if complete else 'aborted')


def test_f75_other_bytes_end_with_their_connection(bench: Bench) -> None:
    answer = bench.answer('plain', framed=False)
    with bench.post('plain', 'plain-unframed') as post:
        answer.send(b'whole')
        answer.fail('fin')
        check(bench, 'plain-unframed', [post], b'whole')
    assert bench.state('plain-unframed') == 'complete'


@pytest.mark.parametrize('name', ['ui', 'ag-ui', 'lines', 'records'])
def test_f75_a_pause_after_an_end_that_more_may_follow_cuts_nothing(
    bench: Bench, name: str
) -> None:
    sample, conv_id = SAMPLES[name], f'{name}-pause'
    end = sample.end.removesuffix(b'data: [DONE]\n\n')
    more = sample.events[-1]
    answer = bench.answer(name)
    with bench.post(name, conv_id) as post:
        answer.send(sample.begun + end)
        post.until(len(sample.begun + end))
        # Nothing happens that could be waited for: the answer stays open for longer
        # than one that is over may.
        time.sleep(1.2 * AFTER_END_S)
        answer.send(more)
        assert post.until(len(sample.begun + end + more)).endswith(more)
        answer.fail('end')
        check(bench, conv_id, [post], sample.begun + end + more)
    assert bench.state(conv_id) == 'complete'


# -- whole events ----------------------------------------------------------------------


@dialects
def test_f72_events_are_passed_on_whole_and_at_once(bench: Bench, name: str) -> None:
    sample = SAMPLES[name]
    answer = bench.answer(name)
    with bench.post(name, f'{name}-whole') as post:
        sent = 0
        for event in sample.events:
            for at in range(0, len(event), 40):
                answer.send(event[at : at + 40])
            sent += len(event)
            assert post.until(sent) == sample.begun[:sent]
        answer.fail('end')
        assert post.rest() == sample.begun


def test_f72_an_event_that_is_too_long_to_hold_is_passed_on(bench: Bench) -> None:
    long = b'data: ' + b'x' * 400_000 + b'\n\n'
    answer = bench.answer('events')
    with bench.post('events', 'long') as post:
        for at in range(0, 300_000, 50_000):
            answer.send(long[at : at + 50_000])
        assert post.until(300_000) == long[:300_000]
        answer.send(long[300_000:] + b'data: half')
        assert post.until(len(long)) == long
        answer.fail('fin')
        check(bench, 'long', [post], long + failure(BROKE))


# -- stops -----------------------------------------------------------------------------


@dialects
@pytest.mark.parametrize('how', ['delete', 'replace'])
def test_f73_a_stop_is_told_to_its_readers(bench: Bench, name: str, how: str) -> None:
    sample, conv_id = SAMPLES[name], f'{name}-{how}'
    answer = bench.answer(name)
    with (
        bench.post(name, conv_id) as post,
        bench.client.open('GET', path(conv_id)) as reader,
        ExitStack() as stack,
    ):
        answer.send(sample.begun + half(sample))
        post.until(len(sample.begun))
        reader.until(len(sample.begun))
        if how == 'delete':
            assert bench.client.delete(path(conv_id)).status == 204
        else:
            stack.enter_context(bench.post(name, conv_id))
        got = post.rest()
        assert reader.rest() == got
        assert post.whole
        assert reader.whole
        assert got.startswith(sample.begun)
        stop = got.removeprefix(sample.begun)
        assert stop.endswith(STOPS[name])
        assert bool(stop) == bool(STOPS[name])
        assert answer.hung_up()


def test_f73_a_stream_that_nobody_listens_to_is_stopped_in_its_dialect(
    bench: Bench,
) -> None:
    sample = SAMPLES['chat']
    answer = bench.answer('chat')
    headers = {'X-Conversation-Id': 'left', 'Stream-On-Disconnect': 'cancel'}
    with bench.client.open('POST', '/v1/x?answer=chat', b'{}', headers) as post:
        answer.send(sample.begun)
        post.until(len(sample.begun))
    assert answer.hung_up()
    assert wait_until(lambda: bench.state('left') == 'cancelled')
    assert bench.client.get(path('left')).body.endswith(STOPS['chat'])


# -- what cannot be told ---------------------------------------------------------------


@pytest.mark.parametrize('fault', FAULTS)
def test_f74_a_type_without_events_is_cut(bench: Bench, fault: str) -> None:
    conv_id = f'plain-{fault}'
    answer = bench.answer('plain')
    with (
        bench.post('plain', conv_id) as post,
        bench.client.open('GET', path(conv_id)) as reader,
    ):
        answer.send(b'half a wor')
        # Nothing is held back.
        assert post.until(10) == reader.until(10) == b'half a wor'
        answer.fail(fault)
        for live in (post, reader):
            assert live.rest() == b'half a wor'
            assert not live.whole
    assert bench.state(conv_id) == 'aborted'
    again = bench.client.get(path(conv_id, 3))
    assert (again.status, again.body, again.whole) == (200, b'f a wor', False)
    assert again.headers['stream-state'] == 'aborted'
    assert 'content-length' not in again.headers
    assert_error(bench.client.get(path(conv_id, 10)), 502, BROKE)
    assert_error(bench.client.get(path(conv_id, 11)), 502, BROKE)
    head = bench.client.call('HEAD', path(conv_id, 9))
    assert (head.status, head.headers['stream-total-bytes']) == (200, '10')
    # There is nothing but the failure: it is told as GET tells it.
    head = bench.client.call('HEAD', path(conv_id, 10))
    assert (head.status, head.body) == (502, b'')


def test_f74_and_so_it_is_when_its_worker_dies(own_bench: Callable[..., Bench]) -> None:
    bench = own_bench(expected=('was sent SIGKILL', 'aborted'))
    answer = bench.answer('plain')
    with one_per_worker(bench.service.port) as workers:
        victim, other, _ = workers
        bench.post('plain', 'dies', victim)
        answer.send(b'half a wor')
        reader = other.open('GET', path('dies'))
        reader.until(10)
        os.kill(victim.worker, signal.SIGKILL)
        assert reader.rest() == b'half a wor'
        assert not reader.whole
    assert_error(bench.client.get(path('dies', 10)), 502, DIED)


def test_f74_its_end_and_its_stop_are_clean(bench: Bench) -> None:
    answer = bench.answer('plain')
    with bench.post('plain', 'ends') as post:
        answer.send(b'whole')
        answer.fail('end')
        check(bench, 'ends', [post], b'whole')
    answer = bench.answer('plain')
    with bench.post('plain', 'stops') as post:
        answer.send(b'half')
        post.until(4)
        bench.client.delete(path('stops'))
        assert post.rest() == b'half'
        assert post.whole


def test_f74_types_that_are_not_named_make_no_session(bench: Bench) -> None:
    answer = bench.upstream.add('image', FaultyAnswer('image/png', length=4))
    with ThreadPoolExecutor() as pool:
        posting = pool.submit(bench.post, 'image', 'image')
        answer.send(b'\x89PNG')
        with posting.result() as post:
            assert post.rest() == b'\x89PNG'
            assert 'stream-generation' not in post.headers
    assert bench.client.lookup('image') == []
