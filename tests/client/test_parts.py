"""The parts of the client that need no service."""

from __future__ import annotations

import gzip
import pickle
import random
import subprocess
import sys
import zlib

import pytest

from shmstream import LocalError, State, StreamNotFound
from shmstream.client import Event, Refused, Unreachable, address
from shmstream.client.backoff import FIRST_S, MOST_S, Backoff
from shmstream.client.decoding import BodyDamaged, CodingUnknown, decoder_for
from shmstream.client.events import parsed
from shmstream.client.exchange import Lost
from shmstream.client.resumption import Post, Resumption
from shmstream.client.whole_events import WholeEvents
from shmstream.dialects.framing import Framing
from tests.support.service import ROOT

SSE = 'text/event-stream'


@pytest.mark.parametrize(
    ('block', 'event'),
    [
        (b'data: x\n\n', Event('x')),
        (b'data:x\n\n', Event('x')),
        (b'data:  x\n\n', Event(' x')),
        (b'data: x\r\n\r\n', Event('x')),
        (b'data: x\r\r', Event('x')),
        (b'\ndata: x\n\n', Event('x')),
        (b'\xef\xbb\xbfdata: x\n\n', Event('x')),
        (b': comment\ndata: x\n\n', Event('x')),
        (b'event: e\nid: 7\ndata: a\ndata: b\n\n', Event('a\nb', 'e', '7')),
        (b'id: a\0b\ndata: x\n\n', Event('x')),
        (b'data: a\xe2\x80\xa8b\n\n', Event('a\u2028b')),
        (b'data\n\n', Event('')),
        (b'event: e\n\n', None),
        (b': ping\n', None),
        (b'data: \xff\n\n', Event('\ufffd')),
    ],
)
def test_events_are_parsed_as_the_standard_says(
    block: bytes, event: Event | None
) -> None:
    assert parsed(block, Framing.EVENTS) == event


def test_lines_are_parsed() -> None:
    assert parsed(b'{"a": 1}\r\n', Framing.LINES) == Event('{"a": 1}')
    assert parsed(b'\x1e{}\n', Framing.RECORDS) == Event('{}')
    assert parsed(b'\n', Framing.LINES) is None


TEXT = b'some text, ' * 100


@pytest.mark.parametrize(
    ('coding', 'body'),
    [
        ('', TEXT),
        ('identity', TEXT),
        ('gzip', gzip.compress(TEXT)),
        ('X-GZIP ', gzip.compress(TEXT)),
        ('gzip', gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:])),
        ('deflate', zlib.compress(TEXT)),
    ],
    # A gzip body holds the time of day: as a name it would differ between processes.
    ids=['no coding', 'identity', 'gzip', 'X-GZIP', 'gzip in two parts', 'deflate'],
)
@pytest.mark.parametrize('size', [1, 7, 10_000])
def test_codings_are_taken_off(coding: str, body: bytes, size: int) -> None:
    decoder = decoder_for(coding)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    assert b''.join(map(decoder.feed, parts)) == TEXT
    decoder.end()


def test_a_body_that_is_damaged_or_too_short_is_no_end() -> None:
    decoder = decoder_for('gzip')
    decoder.feed(gzip.compress(TEXT)[:-1])
    with pytest.raises(BodyDamaged):
        decoder.end()
    with pytest.raises(BodyDamaged):
        decoder_for('gzip').feed(TEXT)
    with pytest.raises(CodingUnknown, match='br'):
        decoder_for('br')


def test_pauses_grow_have_jitter_and_end() -> None:
    backoff = Backoff(1e9)
    pauses = [backoff.failed() for _ in range(50)]
    for number, pause in enumerate(pauses):
        most = min(MOST_S, FIRST_S * 2**number)
        assert pause is not None
        assert most / 2 <= pause <= most
    assert len(set(pauses)) > 40
    assert backoff.failed(30) == 30
    backoff.progress()
    after = backoff.failed()
    assert after is not None
    assert after <= FIRST_S
    assert Backoff(0).failed() is None
    assert Backoff(10).failed(11) is None


def test_addresses() -> None:
    assert address.with_query('http://h/a%2Fb?token=t&from=1#x', **{'from': '2'}) == (
        'http://h/a%2Fb?token=t&from=2'
    )
    assert address.with_query('http://h/a?conv_id=a%2Fb', generation=None) == (
        'http://h/a?conv_id=a%2Fb'
    )
    beside = address.beside('https://h:1/p/v1/chat/completions?x=1', 'a/b ü')
    assert beside == 'https://h:1/p/v1/stream/a%2Fb%20%C3%BC'
    assert address.beside('http://h/api/chat', 'x') == 'http://h/v1/stream/x'
    assert address.beside('http://h/v1/x', '..') == 'http://h/v1/stream?conv_id=..'
    base = 'http://h/v1/chat'
    assert address.given(base, '/v1/stream/x') == 'http://h/v1/stream/x'
    assert address.given(base, 'http://h:80/x') == 'http://h:80/x'
    for other in ('http://other/x', 'https://h/x', 'http://h:81/x', '//evil/x', ''):
        assert address.given(base, other) is None


def test_events_are_whole_wherever_the_bytes_are_cut() -> None:
    """A model: at random places bytes end, and connections are lost."""
    body = b''.join(
        b'data: %d%s' % (n, end)
        for n, end in enumerate([b'\n\n', b'\r\n\r\n', b'\r\r', b'\n: c\n\n'] * 6)
    )
    for seed in range(300):
        chance = random.Random(seed)
        events = WholeEvents(0, 1000)
        got = b''
        while len(got) < len(body):
            assert events.offset == len(got)
            events.begin(SSE, ())
            at = len(got)
            for _ in range(chance.randrange(1, 9)):
                size = chance.randrange(1, 30)
                if body[at : at + size]:
                    events.feed(body[at : at + size])
                at += size
                while events.ready:
                    piece = events.take()
                    assert piece == body[len(got) : len(got) + len(piece)]
                    got += piece
        assert got == body


def head(**more: str) -> dict[str, str]:
    """The head of an answer that is live."""
    names = {name.replace('_', '-'): text for name, text in more.items()}
    live = {'stream-state': 'live', 'stream-generation': 'g', 'stream-offset': '0'}
    chunked = {'content-type': SSE, 'transfer-encoding': 'chunked'}
    return {**live, **chunked, **names}


def reading(**more: str) -> Resumption:
    """A stream, of which an event has arrived and been taken."""
    stream = Resumption('http://h/v1/stream/x', {}, patience_s=1e9, most=1000)
    assert stream.answered(200, head(**more))
    stream.received(b'data: x\n\n')
    stream.events.take()
    return stream


def test_a_clean_end_of_a_live_answer_is_asked_about_at_once() -> None:
    stream = reading()
    assert stream.ended(None) == 0
    assert not stream.over
    assert stream.request().url == 'http://h/v1/stream/x?from=9&generation=g'
    final = head(stream_state='cancelled', stream_offset='9')
    assert stream.answered(200, final)
    assert stream.ended(None) == 0
    assert stream.over
    assert stream.state is State.CANCELLED
    assert stream.resumes == 0


def test_an_end_that_was_none_counts_as_a_loss() -> None:
    stream = reading()
    stream.ended(None)
    assert stream.answered(200, head(stream_offset='9'))
    stream.received(b'data: y\n\n')
    stream.events.take()
    assert stream.resumes == 1
    # So does the next one: it is asked about at once, too.
    assert stream.ended(None) == 0
    assert not stream.over


def test_a_live_answer_that_ends_again_and_again_is_a_failure() -> None:
    stream = reading()
    assert stream.ended(None) == 0
    assert stream.answered(200, head(stream_offset='9'))
    assert stream.ended(None) > 0
    assert not stream.over


def test_an_end_that_could_be_a_cut_is_believed_when_it_brings_nothing() -> None:
    """Without a length and without chunks nobody can tell one from the other."""
    stream = Resumption('http://h/v1/stream/x', {}, patience_s=1e9, most=1000)
    final = head(stream_state='complete')
    del final['transfer-encoding']
    assert stream.answered(200, final)
    stream.received(b'data: x\n\n')
    stream.events.take()
    assert stream.ended(None) == 0
    assert not stream.over
    final['stream-offset'] = '9'
    assert stream.answered(200, final)
    stream.ended(None)
    assert stream.over


def test_the_last_word_is_enough_if_nobody_answers_after_it() -> None:
    stream = reading()
    stream.received(b'data: [DONE]\n\n')
    stream.events.take()
    assert stream.ended(Lost('cut')) == 0
    stream.not_answered(Lost('nobody', sent=False))
    assert stream.over
    assert stream.state is State.COMPLETE


def test_without_a_last_word_it_is_asked_until_somebody_answers() -> None:
    stream = reading()
    assert stream.ended(None) == 0
    assert stream.not_answered(Lost('nobody', sent=False)) > 0
    assert not stream.over


def test_a_stream_that_is_gone_after_a_loss_is_no_end() -> None:
    """It is only if the request right after a clean end says so."""
    stream = reading()
    assert stream.ended(None) == 0
    assert stream.refused(404, {}, b'') == 0
    assert stream.over
    assert stream.state is State.CANCELLED
    stream = reading()
    stream.ended(None)
    stream.refused(503, {}, b'')
    with pytest.raises(StreamNotFound):
        stream.refused(404, {}, b'')


def test_half_an_event_after_the_last_word_is_dropped() -> None:
    stream = reading()
    stream.received(b'data: [DONE]\n\ndata: ha')
    stream.events.take()
    stream.ended(Lost('cut'))
    stream.refused(404, {}, b'')
    assert stream.over
    assert not stream.events.ready


def test_an_unfinished_event_at_a_true_end_belongs_to_the_stream() -> None:
    stream = reading(stream_state='complete')
    stream.received(b'data: y')
    stream.ended(None)
    assert stream.over
    assert stream.events.take() == b'data: y'


def test_an_address_of_another_origin_is_not_followed() -> None:
    post = Post(b'', 'id', unique=True)
    stream = Resumption('http://h/v1/x', {}, post, patience_s=1, most=1)
    stream.answered(200, head(content_location='http://evil/v1/stream/id'))
    assert stream.request().url.startswith('http://h/v1/stream/id?')


def test_the_address_that_the_service_gives_is_used() -> None:
    post = Post(b'', 'id', unique=True)
    stream = Resumption('http://h/p/v1/x', {}, post, patience_s=1, most=1)
    stream.answered(200, head(content_location='/q/v1/stream/other'))
    assert stream.request().url.startswith('http://h/q/v1/stream/other?')


def test_errors_can_be_pickled() -> None:
    refused = pickle.loads(pickle.dumps(Refused(418, 'tea', b'pot')))
    assert (refused.status, refused.body, str(refused)) == (418, b'pot', '418: tea')
    unreachable = pickle.loads(pickle.dumps(Unreachable(7, 'why')))
    assert (unreachable.offset, str(unreachable)) == (7, 'gave up at offset 7: why')
    assert issubclass(LocalError, ValueError)


def loaded(code: str) -> set[str]:
    """The modules that are loaded after this code."""
    done = subprocess.run(
        [sys.executable, '-c', f'{code}\nimport sys; print(*sys.modules)'],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split())


def test_what_is_imported() -> None:
    assert 'shmstream.client' not in loaded('import shmstream')
    packages = {name.partition('.')[0] for name in loaded('import shmstream.client')}
    assert not packages & {'gunicorn', 'falcon', 'aiohttp', 'openai', 'httpx', 'uvloop'}
    assert 'shmstream.http' not in loaded('import shmstream.client')
    assert 'aiohttp' in loaded(
        'import shmstream.client as c; c.astream("http://host/")'
    )


def test_what_the_first_events_have_told_is_known_after_a_loss() -> None:
    """Only the first event of LangGraph's streams tells which event is the last."""
    events = WholeEvents(0, 1000)
    events.begin(SSE, ())
    events.feed(b'event: metadata\ndata: {}\n\n')
    events.take()
    events.begin(SSE, ())
    assert not events.said_over
    events.feed(b'event: end\ndata: null\n\n')
    assert events.said_over
