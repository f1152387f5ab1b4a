"""Last words of streams whose source means harm: they fit, and end the stream."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmstream import State, Streams, SupervisorConfig, stream_end
from shmstream.dialects.events import events_in
from shmstream.dialects.frames import MAX_FRAME
from shmstream.dialects.framing import Framing
from shmstream.dialects.last_words import LastWords, last_words
from shmstream.dialects.table import DIALECTS, Dialect
from tests.dialects.samples import (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    SAMPLES,
    Sample,
    event,
)

WHY = 'upstream broke off the stream'

TYPES = {
    Framing.EVENTS: 'text/event-stream',
    Framing.LINES: 'application/x-ndjson',
    Framing.RECORDS: 'application/json-seq',
    Framing.OPAQUE: 'text/plain',
}


def words_of(dialect: Dialect, stream: bytes, failure: str | None) -> LastWords:
    return last_words(
        *(TYPES[dialect.framing], dialect.number),
        lambda size: stream[:size],
        lambda size: stream[-size:],
        failure,
    )


def refused(name: str) -> None:
    raise AssertionError(f'{name} is not JSON')


def check(words: LastWords, framing: Framing) -> list[dict[str, Any]]:
    """It fits, and all of it is JSON, but for ``[DONE]`` and null."""
    assert len(words.frame) <= MAX_FRAME
    words.frame.decode()
    found = [e.data for e in events_in(words.frame, framing)]
    return [
        json.loads(data, parse_constant=refused)
        for data in found
        if data not in (b'[DONE]', b'null')
    ]


@pytest.mark.parametrize('digits', [19, 20, 2100, 4299, 4300, 4301])
@pytest.mark.parametrize('failure', [WHY, None])
def test_a_number_that_is_too_large_is_not_repeated(
    digits: int, failure: str | None
) -> None:
    stream = (
        b'event: response.x\ndata: {"type":"response.x","sequence_number":'
        + b'9' * digits
        + b'}\n\n'
    )
    (found,) = check(words_of(RESPONSES.dialect, stream, failure), Framing.EVENTS)
    assert not found.get('sequence_number')


@pytest.mark.parametrize('number', ['1e999', '-1e999', 'NaN', 'true', '9' * 30])
def test_what_is_no_number_of_json_is_not_repeated(number: str) -> None:
    stream = f'data: {{"created":{number},"choices":[{{"delta":{{}}}}]}}\n\n'.encode()
    (found,) = check(words_of(CHAT.dialect, stream, None), Framing.EVENTS)
    assert 'created' not in found
    assert found['choices'][0]['finish_reason'] == 'cancelled'


@pytest.mark.parametrize('sample', [CHAT, COMPLETIONS])
@pytest.mark.parametrize('text', ['x', '\U0001f600', '\x00', '"', '\ud800'])
def test_a_stop_with_long_ids_fits(sample: Sample, text: str) -> None:
    choices = [{'index': (1 << 62) + n, 'delta': {}} for n in range(100)]
    ids = dict.fromkeys(('id', 'object', 'model'), text * 240)
    stream = event({**ids, 'created': 1.5, 'choices': choices})
    (found,) = check(words_of(sample.dialect, stream, None), Framing.EVENTS)
    assert len(found['choices']) == 8


HUGE = st.sampled_from([10**n + d for n in (18, 19, 30, 2100, 4299) for d in (0, -1)])
NUMBERS = st.integers() | HUGE | HUGE.map(int.__neg__) | st.floats()
TEXTS = st.text(max_size=8).flatmap(
    lambda text: st.sampled_from([text, text * 30, text * 240, text * 3000])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
CHOICES = st.lists(
    VALUES
    | st.fixed_dictionaries({}, optional={'index': VALUES, 'finish_reason': VALUES}),
    max_size=20,
)
RESPONSE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(('id', 'created_at', 'model'), VALUES)
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(('id', 'object', 'created', 'model', 'created_at'), VALUES),
        **dict.fromkeys(('done', 'name', 'sequence_number'), VALUES),
        'type': VALUES | st.sampled_from(['response.created', 'message_start']),
        'choices': VALUES | CHOICES,
        'response': VALUES | RESPONSE,
    },
)


def written(fields: list[dict[str, Any]], framing: Framing) -> bytes:
    if framing is Framing.EVENTS:
        return b''.join(b'data: %s\n\n' % json.dumps(f).encode() for f in fields)
    return b''.join(json.dumps(f).encode() + b'\n' for f in fields)


@given(
    dialect=st.sampled_from(sorted(DIALECTS)).map(DIALECTS.__getitem__),
    known=st.booleans(),
    fields=st.lists(FIELDS, max_size=4),
    half=st.sampled_from([b'', b'data: {"half', b'{']),
    failure=st.none() | TEXTS,
)
def test_whatever_a_stream_holds_its_last_words_fit_and_are_json(
    dialect: Dialect,
    known: bool,
    fields: list[dict[str, Any]],
    half: bytes,
    failure: str | None,
) -> None:
    stream = written(fields, dialect.framing) + half
    number = dialect.number if known else 0
    words = last_words(
        *(TYPES[dialect.framing], number),
        lambda size: stream[:size],
        lambda size: stream[-size:],
        failure,
    )
    check(words, dialect.framing)


@pytest.mark.parametrize('sample', SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize('failure', [WHY, None])
def test_a_frame_that_is_too_long_gives_way_to_one_that_fits(
    sample: Sample, failure: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever makes it: the limit is seen to where all frames pass."""
    dialect = sample.dialect
    whole = dialect.stop

    def too_long(said: Any) -> bytes:
        return b'data: ' + b'x' * 3000 + b'\n\n' if said.last else whole(said)

    monkeypatch.setitem(dialect.__dict__, 'stop', too_long)
    check(words_of(dialect, sample.begun, failure), dialect.framing)


# -- mistakes of ours ------------------------------------------------------------------


def failing(*_: Any) -> LastWords:
    raise ValueError('a mistake')


@pytest.mark.parametrize('failure', [WHY, None])
def test_a_producer_s_stream_ends_though_its_last_words_cannot_be_made(
    tmp_path: Path,
    failure: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Streams.attach(tmp_path / 'run', supervise=SupervisorConfig()) as streams:
        streams.connect()
        producer = streams.create('c')
        producer.write(CHAT.begun)
        monkeypatch.setattr(stream_end, 'last_words', failing)
        with caplog.at_level(logging.ERROR):
            producer.cancel() if failure is None else producer.abort(failure)
        consumer = streams.open('c')
        assert consumer.finished
        expected = State.CANCELLED if failure is None else State.ABORTED
        assert consumer.state is expected
        assert consumer.read() == CHAT.begun
        # Nothing tells the failure: the responses are cut.
        assert consumer.untold_failure == (failure or '')
    assert 'a mistake' in caplog.text
