"""Whole events, however the chunks fall; against a model that reads byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shmstream.dialects.framing import Framing
from shmstream.dialects.splitter import MAX_HELD, pieces, splitter_for


def whole_prefix(text: bytes) -> int:
    """How many bytes of a stream of events are whole, as the standard has it.

    A line ends with LF, CR or both; an empty line ends an event. A comment line that
    is in no event is whole by itself.
    """
    whole = at = line_start = event_start = 0
    while at < len(text):
        if text[at : at + 1] not in (b'\n', b'\r'):
            at += 1
            continue
        empty = at == line_start
        comment = (
            line_start == event_start and text[line_start : line_start + 1] == b':'
        )
        at += 2 if text[at : at + 2] == b'\r\n' else 1
        line_start = at
        if empty or comment:
            whole = event_start = at
    return whole


pieces_of_text = st.sampled_from(
    [b'\n', b'\r', b'\r\n', b'\n\n', b'data: x', b':', b': ping', b'a']
)
texts = st.lists(pieces_of_text, max_size=14).map(b''.join)


@given(text=texts, cuts=st.lists(st.integers(0, 40), max_size=10))
@example(text=b'a\r\n\r\nb', cuts=[4])
@example(text=b'a\r\r\nb\n\n', cuts=[3])
@example(text=b'a\n\n\n\n', cuts=[3, 4])
@example(text=b': p\r\n: q\n', cuts=[4])
@settings(deadline=None, print_blob=True, max_examples=300)
def test_what_is_passed_on_is_what_is_whole(text: bytes, cuts: list[int]) -> None:
    splitter = splitter_for(Framing.EVENTS)
    passed, at = b'', 0
    for cut in [*sorted(cuts), len(text)]:
        passed += splitter.feed(text[at:cut])
        at = max(at, min(cut, len(text)))
        assert len(passed) == whole_prefix(text[:at])
        assert passed + splitter.held == text[:at]


@given(text=texts, most=st.integers(1, 12))
@settings(deadline=None, print_blob=True)
def test_pieces_end_where_events_end(text: bytes, most: int) -> None:
    text = text[: whole_prefix(text)]
    found = list(pieces(text, most, Framing.EVENTS))
    assert b''.join(found) == text
    for number in range(len(found)):
        so_far = b''.join(found[:number])
        assert so_far == b'' or so_far.endswith((b'\n', b'\r'))
        if b':' not in text:
            # A line end that follows a blank line is one more, of a piece of its own.
            assert whole_prefix(so_far) == len(so_far)


@given(text=texts, cuts=st.lists(st.integers(0, 40), max_size=10))
@settings(deadline=None, print_blob=True)
def test_lines_are_passed_on_at_their_end(text: bytes, cuts: list[int]) -> None:
    splitter = splitter_for(Framing.LINES)
    passed, at = b'', 0
    for cut in [*sorted(cuts), len(text)]:
        passed += splitter.feed(text[at:cut])
        at = max(at, min(cut, len(text)))
        assert passed == text[: text.rfind(b'\n', 0, at) + 1]
        assert passed + splitter.held == text[:at]


@pytest.mark.parametrize('size', [100, 5000])
@pytest.mark.parametrize('framing', [Framing.EVENTS, Framing.LINES])
def test_an_endless_event_is_held_up_to_its_limit(framing: Framing, size: int) -> None:
    end = b'\n\n' if framing is Framing.EVENTS else b'\n'
    text = b'x' * (MAX_HELD + 10_000) + end + b'half'
    splitter = splitter_for(framing)
    passed = bytearray()
    for at in range(0, len(text), size):
        passed += splitter.feed(text[at : at + size])
        assert len(splitter.held) <= MAX_HELD
        if len(passed) > MAX_HELD:
            # Once it is given up, nothing of it is late.
            assert splitter.held in b'half'
    assert bytes(passed) == text[:-4]
    assert splitter.held == b'half'


def test_the_end_of_an_endless_event_is_found_across_chunks() -> None:
    for end in (b'\n\n', b'\r\n\r\n', b'\r\r', b'\n\r\n'):
        splitter = splitter_for(Framing.EVENTS)
        text = b'x' * (MAX_HELD + 1)
        assert splitter.feed(text) == text
        passed = b''.join(splitter.feed(bytes([byte])) for byte in end + b'half')
        assert passed == end
        assert splitter.held == b'half'


def test_bytes_without_events_are_passed_on_as_they_come() -> None:
    splitter = splitter_for(Framing.OPAQUE)
    assert splitter.feed(b'half') == b'half'
    assert splitter.held == b''
    assert list(pieces(b'abcde', 2, Framing.OPAQUE)) == [b'ab', b'cd', b'e']


def test_pieces_of_lines_end_where_lines_end() -> None:
    found = list(pieces(b'ab\ncd\nefghij\nk\n', 6, Framing.LINES))
    assert found == [b'ab\ncd\n', b'efghij\n', b'k\n']
