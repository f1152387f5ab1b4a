"""The layout, in numbers that are written out: other processes, and other releases,
have been told them. Whoever changes one changes ``LAYOUT_VERSION``.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from shmstream.clock import Moment
from shmstream.ids import MAX_ALIAS_BYTES, MAX_ID_BYTES, OWNER_BYTES
from shmstream.memory import worker_table
from shmstream.memory.new_segment import new_segment
from shmstream.ring import layout
from shmstream.ring.ring import RingWriter
from shmstream.ring.state import State
from shmstream.wakeups.semaphore import semaphore_name

WORDS = {
    'W_MAGIC': 0,
    'W_VERSION': 8,
    'W_CAPACITY': 16,
    'W_GENERATION': 24,
    'W_CREATED': 32,
    'W_PRODUCER_EPOCH': 40,
    'W_ASKED': 48,
    'W_ASKED_BOOT': 56,
    'W_HEAD': 64,
    'W_DROPPED': 72,
    'W_STATE': 80,
    'W_COMPLETED': 88,
    'W_RESERVED': 96,
    'W_ENDED': 104,
    'W_ENDED_BOOT': 112,
    'W_DIALECT': 120,
    'W_CANCELLED': 128,
    'W_EVICTED': 136,
    'W_OWNER_ROOM': 144,
    'W_CANCELLED_BY': 152,
    'W_BEGUN': 192,
    'W_COUNTED': 200,
    'W_FIRST_BYTE': 208,
    'W_CAUSE': 216,
    'W_UPSTREAM_STATUS': 224,
    'W_TRACE': 232,
    'W_SPAN': 248,
    'W_FAILURE_LENGTH': 256,
    'W_PLACES': 512,
    'W_ID_LENGTH': 1056,
    'W_ALIAS_LENGTH': 1600,
    'W_TYPE_LENGTH': 2048,
    'W_KEPT_LENGTH': 2312,
    'W_FOLLOWERS': 3072,
    'W_SERVED': 3584,
}
"""Byte offset of each word (of the first, where there is one for every worker)."""

FIELDS = [
    # first byte, one past the last, who writes it
    (0, 8, 'creation'),
    (8, 16, 'creation'),
    (16, 24, 'creation'),
    (24, 32, 'creation'),
    (32, 40, 'creation'),
    (40, 48, 'creation'),
    (48, 56, 'creation'),
    (56, 64, 'creation'),
    (64, 72, 'producer'),
    (72, 80, 'producer'),
    (80, 88, 'producer'),
    (88, 96, 'producer'),
    (96, 104, 'producer'),
    (104, 112, 'producer'),
    (112, 120, 'producer'),
    (120, 128, 'producer'),
    (128, 136, 'supervisor'),
    (136, 144, 'supervisor'),
    (144, 152, 'supervisor'),
    (152, 160, 'supervisor'),
    (192, 200, 'producer'),
    (200, 208, 'producer'),
    (208, 216, 'producer'),
    (216, 224, 'producer'),
    (224, 232, 'producer'),
    (232, 248, 'producer'),
    (248, 256, 'producer'),
    (256, 264, 'producer'),
    (264, 512, 'producer'),
    (512, 1024, 'readers'),
    (1024, 1056, 'creation'),
    (1056, 1064, 'creation'),
    (1064, 1576, 'creation'),
    (1600, 1608, 'producer'),
    (1608, 2048, 'producer'),
    (2048, 2056, 'producer'),
    (2056, 2312, 'producer'),
    (2312, 2320, 'producer'),
    (2320, 3072, 'producer'),
    (3072, 3584, 'readers'),
    (3584, 4096, 'readers'),
]


def test_every_word_is_at_the_offset_that_the_format_says() -> None:
    found = {k: v for k, v in vars(layout).items() if k.startswith('W_')}
    assert {name: 8 * index for name, index in found.items()} == WORDS


def test_every_block_is_at_the_offset_that_the_format_says() -> None:
    assert slice(512, 1024) == layout.B_PLACES
    assert slice(1024, 1056) == layout.B_OWNER
    assert layout.B_ID == 1064
    assert layout.B_ALIAS == 1608
    assert layout.B_TYPE == 2056
    assert layout.B_KEPT == 2320
    assert layout.B_FAILURE == 264
    assert slice(64, 144) == layout.B_CHANGES
    found = {name for name in vars(layout) if name.startswith('B_')}
    blocks = {'B_PLACES', 'B_OWNER', 'B_ID', 'B_TYPE', 'B_KEPT', 'B_FAILURE'}
    assert found == blocks | {'B_CHANGES', 'B_ALIAS'}


def test_sizes_and_limits_are_what_the_format_says() -> None:
    assert layout.HEADER_BYTES == 4096
    assert layout.WORD == 8
    assert layout.MAX_SLOTS == 64
    assert layout.MIN_CAPACITY == 4096
    assert layout.MAX_CAPACITY == 1073741824
    assert layout.MAX_CONTENT_TYPE == 256
    assert layout.MAX_KEPT == 752
    assert layout.MAX_FAILURE == 248
    assert layout.LAYOUT_VERSION == 6
    assert layout.MAGIC == 0x314D5254534D4853
    assert MAX_ID_BYTES == 512
    assert MAX_ALIAS_BYTES == 440
    assert OWNER_BYTES == 32


def test_fields_do_not_overlap_and_fit_the_header() -> None:
    spans = sorted((first, end) for first, end, _ in FIELDS)
    for (_, end), (first, _) in pairwise(spans):
        assert end <= first
    assert spans[-1][1] <= 4096
    assert all(first % 8 == 0 for first, _ in spans)
    assert set(WORDS.values()) <= {first for first, _ in spans}


def test_no_cache_line_is_written_by_two_while_a_stream_lives() -> None:
    writers: dict[int, set[str]] = {}
    for first, end, who in FIELDS:
        for line in range(first // 64, (end - 1) // 64 + 1):
            writers.setdefault(line, set()).add(who)
    assert all(len(who) == 1 for who in writers.values())


def test_a_waiting_reader_compares_all_that_producer_and_supervisor_publish() -> None:
    first, end = layout.B_CHANGES.start, layout.B_CHANGES.stop
    for name in ('HEAD', 'DROPPED', 'STATE', 'COMPLETED', 'CANCELLED', 'EVICTED'):
        assert first <= WORDS[f'W_{name}'] < end
    # Not what readers write: they would wake each other for ever.
    assert end <= WORDS['W_PLACES']


@pytest.mark.parametrize(
    ('state', 'number', 'label', 'final'),
    [
        (State.PENDING, 0, 'pending', False),
        (State.LIVE, 1, 'live', False),
        (State.COMPLETE, 2, 'complete', True),
        (State.CANCELLED, 3, 'cancelled', True),
        (State.ABORTED, 4, 'aborted', True),
    ],
)
def test_states_have_the_numbers_that_the_format_says(
    state: State, number: int, label: str, final: bool
) -> None:
    assert (int(state), state.label, state.final) == (number, label, final)
    assert len(State) == 5


def test_a_segment_s_file_has_each_field_where_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / 'segment'
    owner = bytes(range(32))
    segment, fd = new_segment(
        path,
        capacity=8192,
        generation=0x1122334455667788,
        created=Moment(1_700_000_000_000_000_001, 123, 456),
        producer_epoch=77,
        owner=owner,
        conv_id='Gespräch'.encode(),
    )
    os.close(fd)
    segment.set_content_type('text/plain')
    segment.set_kept_headers(b'a: b\n')
    segment.set_dialect(11)
    segment.set_alias(b'resp_1')
    segment.set_failure('why')
    writer = RingWriter(segment.view)
    writer.go_live()
    writer.append(b'0123456789')
    segment.followers.add(5, 0xABCDE00000, 2)
    segment.followers.serve(5, False)
    segment.followers.serve(5, True)
    segment.set_place(62, 0x12345ABCDE00000, None)
    segment.set_place(63, 0x12345ABCDE01234, 4095)
    raw = path.read_bytes()

    def word(at: int) -> int:
        return int.from_bytes(raw[at : at + 8], 'little')

    assert len(raw) == 12288
    assert raw[:8] == b'SHMSTRM1'
    assert [word(at) for at in (8, 16, 24, 32, 40, 48, 56)] == [
        6,
        8192,
        0x1122334455667788,
        1_700_000_000_000_000_001,
        77,
        123,
        456,
    ]
    assert [word(at) for at in (64, 72, 80, 88, 96)] == [10, 0, 1, 0, 8192]
    assert word(120) == 11
    assert word(192) == 1
    assert word(208) > 0
    assert [word(at) for at in (128, 136, 144, 152)] == [0, 0, 0, 0]
    assert (word(1008), word(1016)) == (0, 0x12345ABCDE01000)
    assert raw[1024:1056] == owner
    assert raw[1056:1073] == b'\x09\0\0\0\0\0\0\0Gespr\xc3\xa4ch'
    assert raw[1600:1615] == b'\x06\0\0\0\0\0\0\0resp_1\0'
    assert raw[2048:2066] == b'\x0a\0\0\0\0\0\0\0text/plain'
    assert raw[2312:2325] == b'\x05\0\0\0\0\0\0\0a: b\n'
    assert raw[256:268] == b'\x03\0\0\0\0\0\0\0why\0'
    assert word(3112) == 0xABCDE00002
    assert word(3624) == (1 << 32) + 2
    assert raw[4096:4107] == b'0123456789\0'


def test_the_worker_table_is_where_its_format_says(tmp_path: Path) -> None:
    path = tmp_path / 'workers'
    made = worker_table.WorkerTable.create(path, made_directory=True, limit=88)
    made.take(0, 0x11, 22)
    made.take(63, 0x33, 44)
    made.count_cancel(63)
    made.count_look(63)
    made.count_look(63)
    made.words[made.nap_at(63)] = 55
    made.words[made.place_at(0, 0)] = 66
    made.words[made.place_at(63, 4095)] = 77
    raw = path.read_bytes()
    words = memoryview(raw).cast('Q')
    assert len(raw) == 12288 + 64 * 32768
    assert raw[:8] == b'SHMWORK1'
    # The table's version, and above it that of segments.
    assert words[1] == 4 + (layout.LAYOUT_VERSION << 32)
    assert (words[3], words[7]) == (1, 88)
    assert semaphore_name(made.token, 0x11) == f'/shmstream-{words[2]:016x}-{0x11:016x}'
    assert list(words[8:12]) == [0x11, 22, 0, 0]
    at = (64 + 63 * 128) // 8
    assert list(words[at : at + 4]) == [0x33, 44, 1, 2]
    assert words[at + 8] == 55
    assert (words[12288 // 8], words[len(raw) // 8 - 1]) == (66, 77)
    assert sum(map(bool, words[12288 // 8 :])) == 2
