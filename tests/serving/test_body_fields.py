"""What a body says at its top level is found while it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmstream.serving.body_fields import MAX_STEPS, MAX_TEXT, BodyFields, TooLong

NAMES = ('stream', 'id')


def looked_at(body: bytes, size: int) -> BodyFields:
    """Feed a body in pieces of this size."""
    fields = BodyFields(NAMES)
    for at in range(0, len(body), size):
        fields.feed(body[at : at + size])
        while not fields.look():
            pass
    return fields


def expected(body: Any) -> dict[str, Any]:
    found = {}
    for name in NAMES:
        value = body.get(name)
        if isinstance(value, str | bool):
            found[name] = value
        elif isinstance(value, int) and abs(value) < 10**20:
            found[name] = str(value)
    return found


@pytest.mark.parametrize('size', [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    ('body', 'found'),
    [
        ('{"stream":true}', {'stream': True}),
        (' \r\n{ "stream" : true , "x": 1}', {'stream': True}),
        ('{"messages":[{"content":"a"}],"stream":true}', {'stream': True}),
        ('{"stream":false,"id":"a"}', {'stream': False, 'id': 'a'}),
        ('{"id":"\\u00e9\\ud83e\\udd8a \\"\\\\"}', {'id': 'é🦊 "\\'}),
        ('{"id":"grün"}', {'id': 'grün'}),
        ('{"id":17}', {'id': '17'}),
        ('{"id":17.5}', {}),
        ('{"id":null,"stream":null}', {}),
        ('{"\\u0073tream":true}', {'stream': True}),
        ('{"stream":"true"}', {'stream': 'true'}),
        ('{"stream_options":{"stream":true}}', {}),
        ('{"options":{"stream":true},"stream":false}', {'stream': False}),
        ('{"text":"\\"stream\\":true,","id":"a"}', {'id': 'a'}),
        ('{"text":"{[\\\\","id":"a"}', {'id': 'a'}),
        ('{"text":["}\\"]"],"id":"a"}', {'id': 'a'}),
        ('{"id":"a","id":"b"}', {'id': 'a'}),
        ('{"stream":true', {'stream': True} | {}),
        ('[{"stream":true}]', {}),
        ('"stream"', {}),
        ('', {}),
        ('{}{"stream":true}', {}),
        ('{"a":1 "stream":true}', {}),
        ('{"a":}"stream":true}', {}),
        ('{stream:true}', {}),
        ('--boundary\r\n\r\n{"stream":true}', {}),
    ],
)
def test_members_are_found_at_the_top_level_only(
    body: str, found: dict[str, Any], size: int
) -> None:
    if body == '{"stream":true':
        # The value may go on.
        found = {}
    assert looked_at(body.encode(), size).found == found


@pytest.mark.parametrize('size', [1, 3, 10_000])
@pytest.mark.parametrize(
    ('body', 'twice'),
    [
        ('{"id":"a","id":"b"}', 'id'),
        ('{"stream":true,"id":"a","x":[{"id":"b"}],"stream":false}', 'stream'),
        ('{"stream":true,"stream":null}', 'stream'),
        ('{"stream":true,"stream":1}', 'stream'),
        ('{"stream":true,"stream":"true"}', 'stream'),
        ('{"id":"a","id":{}}', 'id'),
        ('{"id":"a","id":["b"]}', 'id'),
        ('{"id":"a","\\u0069d":"b"}', 'id'),
        ('{"id":"a","stream":true,"id":"a","stream":true}', None),
        ('{"id":17,"id":"17"}', None),
        ('{"id":"a","x":1,"x":2,"y":{"id":"b"}}', None),
        # The last value counts for both.
        ('{"id":null,"id":"a"}', None),
        # After the end of the object nothing counts.
        ('{"id":"a"}{"id":"b"}', None),
    ],
)
def test_a_member_that_comes_again_is_noticed(
    body: str, twice: str | None, size: int
) -> None:
    assert looked_at(body.encode(), size).twice == twice


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(['stream', 'id', 'messages']) | st.text(), values),
    st.integers(1, 50),
    st.booleans(),
)
def test_what_is_found_is_what_json_says(
    body: dict[str, Any], size: int, ascii_only: bool
) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only, indent=size % 3 or None)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = json.dumps(body).encode()
    assert looked_at(raw, size).found == expected(body)


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_are_too_strange(body: bytes, size: int) -> None:
    looked_at(body, size)
    looked_at(b'{"id":"' + body, size)
    looked_at(b'{"a":[' + body, size)


def test_a_string_that_is_longer_than_any_id_is_not_kept() -> None:
    body = b'{"id":"%b","stream":true}'
    assert looked_at(body % (b'x' * MAX_TEXT), 100).found['id'] == 'x' * MAX_TEXT
    fields = looked_at(body % (b'x' * (10 * MAX_TEXT)), 100)
    assert fields.found == {'id': TooLong, 'stream': True}


@pytest.mark.parametrize('piece', [b'[', b'[],', b'"",', b'"a":1,'])
def test_a_body_costs_so_many_steps_and_no_more(piece: bytes) -> None:
    """And in one go so few that others have their turn."""
    fields = BodyFields(NAMES)
    body = b'{' if piece.startswith(b'"a') else b'{"a":['
    fields.feed(body + piece * MAX_STEPS)
    goes = 1
    while not fields.look():
        goes += 1
    assert fields.over
    assert goes > 100
    assert fields.found == {}


def test_a_long_string_is_one_step_for_each_piece() -> None:
    body = b'{"text":"' + b'x' * (8 << 20) + b'","stream":true}'
    fields = looked_at(body, 1 << 16)
    assert fields.found['stream'] is True
    assert fields._steps < 300


@pytest.mark.parametrize('size', [1, 3, 10_000])
@pytest.mark.parametrize(
    ('body', 'ended'),
    [
        ('{}', True),
        (' { } ', True),
        ('{"a": 1}', True),
        ('{"a": {"b": []}, "c": "}"} and more', True),
        ('', False),
        ('{', False),
        ('{"a": 1', False),
        ('{"a": {"b": 1}', False),
        ('{"a": "}', False),
        ('{"a" 1}', False),
        ('[]', False),
        ('{"a": 1]', False),
    ],
)
def test_whether_the_object_has_ended(body: str, ended: bool, size: int) -> None:
    assert looked_at(body.encode(), size).ended == ended


@pytest.mark.parametrize('size', [1, 3, 10_000])
@pytest.mark.parametrize(
    ('body', 'unfit', 'more'),
    [
        ('{"id": "a", "stream": true}', set(), False),
        ('{"id": null, "x": [1.5]}', set(), False),
        ('{"id": 1.5}', {'id'}, False),
        ('{"id": [null], "stream": {}}', {'id', 'stream'}, False),
        ('{"id": nul} \n', {'id'}, False),
        ('{}  {', set(), True),
        ('{"id": "a"}x ', set(), True),
    ],
)
def test_what_does_not_fit_is_noticed(
    body: str, unfit: set[str], more: bool, size: int
) -> None:
    fields = looked_at(body.encode(), size)
    assert (fields.unfit, fields.more) == (unfit, more)
