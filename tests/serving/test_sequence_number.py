"""A client of Responses that names the last number that it has gets what comes next."""

from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmstream import Consumer, OffsetLost
from shmstream.serving import event_search, sequence_number
from shmstream.serving.problems import Problem
from tests.serving.test_last_event import Text


def after(data: bytes, number: int, dropped: int = 0) -> bytes | None:
    """What is replayed of these bytes; None if the offset is lost."""
    stream = cast(Consumer, Text(data, dropped))
    try:
        return data[sequence_number.offset_after(stream, number) :]
    except OffsetLost:
        return None


def event(number: int, end: bytes = b'\n', **more: object) -> bytes:
    data = json.dumps({'type': 'x', **more, 'sequence_number': number}).encode()
    return b'event: x' + end + b'data: ' + data + end + end


ENDS = st.sampled_from([b'\n', b'\r\n', b'\r'])
MORE = st.sampled_from(
    [
        {},
        {'delta': '"sequence_number":3,'},
        {'item': {'sequence_number': 2}},
        {'delta': 'x' * 50},
    ]
)


@given(
    numbers=st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True),
    more=st.lists(MORE, min_size=6, max_size=6),
    end=ENDS,
    piece=st.integers(1, 300),
    data=st.data(),
)
def test_it_begins_after_the_number_wherever_that_is_cut(
    numbers: list[int],
    more: list[dict[str, object]],
    end: bytes,
    piece: int,
    data: st.DataObject,
) -> None:
    """Against what a parser makes of it, also where the ring has dropped bytes."""
    numbers.sort()
    events = [event(n, end, **m) for n, m in zip(numbers, more, strict=False)]
    stream = b''.join(events)
    begins = [sum(map(len, events[:index])) for index in range(len(events))]
    dropped = data.draw(st.integers(0, len(stream)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_search, '_PIECE', piece)
        for asked in range(14):
            whole = [
                (number, begin)
                for number, begin in zip(numbers, begins, strict=True)
                # An event of which the ring holds no blank line before it may have
                # lost its beginning.
                if dropped == 0
                or stream[dropped:begin].endswith((end + end, b'\n\r\n'))
            ]
            later = [begin for number, begin in whole if number > asked]
            known = dropped == 0 or any(number <= asked for number, _ in whole)
            follows = any(number == asked + 1 for number, _ in whole)
            if later and (known or follows):
                assert after(stream, asked, dropped) == stream[later[0] :]
            elif not later and asked in [number for number, _ in whole]:
                assert after(stream, asked, dropped) == b''
            elif known:
                with pytest.raises(Problem, match=f'no event {asked} so far'):
                    after(stream, asked, dropped)
            else:
                assert after(stream, asked, dropped) is None


@pytest.mark.parametrize(
    ('data', 'number', 'rest'),
    [
        # Comments and other events belong to what comes next.
        (event(0) + b': ping\n\n' + event(1), 0, b': ping\n\n' + event(1)),
        (event(0) + event(1) + b'data: [DONE]\n\n', 1, b'data: [DONE]\n\n'),
        (event(10) + event(11), 1, event(10) + event(11)),
        # Without its end: nobody has it.
        (event(0) + event(1)[:-1], 1, event(1)[:-1]),
        (b'data: {"sequence_number" : 4 }\n\nx', 4, b'x'),
        (b'data: {"sequence_number":\ndata: 4}\n\n' + event(5), 4, event(5)),
    ],
)
def test_where_it_begins(data: bytes, number: int, rest: bytes) -> None:
    assert after(data, number) == rest


def test_json_lines_have_no_numbers() -> None:
    stream = Text(b'{"sequence_number": 1}\n')
    stream.content_type = 'application/x-ndjson'
    with pytest.raises(OffsetLost):
        sequence_number.offset_after(cast(Consumer, stream), 1)


class Counted(Text):
    """A stream that counts how often it is read."""

    reads = 0

    def read(self, offset: int, limit: int) -> bytes:
        self.reads += 1
        return super().read(offset, limit)


def test_an_event_is_looked_at_once_however_many_numbers_it_holds() -> None:
    nested = [{'sequence_number': 5 + (n & 1)} for n in range(1000)]
    large, last = event(4, items=nested), event(6)
    stream = Counted(large + last)
    assert sequence_number.offset_after(cast(Consumer, stream), 5) == len(large)
    assert stream.reads < 12


class Dropping(Text):
    """A ring that drops bytes as soon as it has been read for the first time."""

    def __init__(self, data: bytes, dropped: int) -> None:
        super().__init__(data)
        self._later = dropped

    def read(self, offset: int, limit: int) -> bytes:
        data = super().read(offset, limit)
        self.dropped_prefix = self._later
        return data


def test_what_is_dropped_during_the_search_may_be_what_the_client_lacks() -> None:
    # The number is at the end of the event, and stays.
    stream = Dropping(event(3) + event(5), dropped=5)
    with pytest.raises(OffsetLost):
        sequence_number.offset_after(cast(Consumer, stream), 2)


class Hasty(Text):
    """A ring that drops bytes as soon as it has been asked what it has dropped."""

    _told = 0

    def __init__(self, data: bytes, dropped: int) -> None:
        self._later = dropped
        super().__init__(data)

    @property
    def dropped_prefix(self) -> int:
        told = self._told
        self._told = self._later
        return told

    @dropped_prefix.setter
    def dropped_prefix(self, value: int) -> None:
        self._told = value

    def read(self, offset: int, limit: int) -> bytes:
        if offset < self._later:
            raise OffsetLost(offset, self._later, self.total_bytes)
        return super().read(offset, limit)


def test_the_search_trusts_what_it_reads_and_not_what_it_was_told_before() -> None:
    first = event(1)
    stream = Hasty(first + event(5), len(first) - 2)
    with pytest.raises(OffsetLost):
        sequence_number.offset_after(cast(Consumer, stream), 1)
