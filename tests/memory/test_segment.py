"""A segment's file: made once, checked before it is mapped, never reused."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.memory.segment import Segment
from shmstream.ring.layout import (
    B_PLACES,
    HEADER_BYTES,
    LAYOUT_VERSION,
    MAX_CONTENT_TYPE,
    W_ALIAS_LENGTH,
    W_CAPACITY,
    W_ID_LENGTH,
    W_KEPT_LENGTH,
    W_MAGIC,
    W_PLACES,
    W_TYPE_LENGTH,
    W_VERSION,
)
from shmstream.ring.ring import RingReader, RingWriter
from tests.memory.segments import OWNER, create


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'segment'


def test_what_was_created_is_what_is_attached(path: Path) -> None:
    made, fd = create(path, conv_id='Übung::model', generation=0xABC)
    os.close(fd)
    segment = Segment.attach(path)
    assert segment.conv_id == 'Übung::model'
    assert segment.owner == OWNER
    assert segment.capacity == made.capacity == 65536
    assert segment.generation == made.generation == '0000000000000abc'
    assert segment.created_at_ns == 1_700_000_000_000_000_000
    assert segment.identity == made.identity
    assert segment.content_type == ''
    assert not segment.cancelled
    assert not segment.evicted


def test_a_segment_is_for_its_owner_s_eyes_only(path: Path) -> None:
    _, fd = create(path)
    os.close(fd)
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_mappings_show_the_same_bytes(path: Path) -> None:
    made, fd = create(path)
    os.close(fd)
    writer = RingWriter(made.view)
    reader = RingReader(Segment.attach(path).view)
    writer.append(b'hello')
    assert reader.read(0) == b'hello'


@pytest.mark.parametrize('capacity', [4096, 5001, 65537])
def test_a_ring_may_have_any_size(path: Path, capacity: int) -> None:
    made, fd = create(path, capacity)
    os.close(fd)
    writer = RingWriter(made.view)
    writer.append(b'x' * (capacity + 1))
    reader = RingReader(Segment.attach(path).view)
    assert (reader.dropped_prefix, reader.total_bytes) == (1, capacity + 1)


def test_creating_does_not_touch_what_is_there(path: Path) -> None:
    path.write_bytes(b'something else')
    with pytest.raises(FileExistsError):
        create(path)
    assert path.read_bytes() == b'something else'


def test_a_long_content_type_is_cut(path: Path) -> None:
    made, fd = create(path)
    os.close(fd)
    made.set_content_type('x' * 1000)
    assert Segment.attach(path).content_type == 'x' * MAX_CONTENT_TYPE


def test_a_content_type_is_settled_when_the_stream_has_begun(path: Path) -> None:
    """Until then its producer may be writing it."""
    made, fd = create(path)
    os.close(fd)
    made.set_content_type('text/')
    reader = Segment.attach(path)
    assert reader.content_type == 'text/'
    made.set_content_type('text/event-stream')
    assert reader.content_type == 'text/event-stream'
    RingWriter(made.view).go_live()
    assert reader.content_type == 'text/event-stream'
    made.set_content_type('never again')
    assert reader.content_type == 'text/event-stream'


# -- what is refused -------------------------------------------------------------------


def size_of(size: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(bytes(size))


def word(index: int, value: int) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        segment, fd = create(path)
        os.close(fd)
        segment.words[index] = value

    return spoil


def resized(size: int) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        _, fd = create(path)
        os.ftruncate(fd, size)
        os.close(fd)

    return spoil


def link(path: Path) -> None:
    _, fd = create(path.with_name('real'))
    os.close(fd)
    path.symlink_to('real')


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(path))


def foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip('only root can give files away')
    _, fd = create(path)
    os.fchown(fd, 65534, 65534)
    os.close(fd)


REFUSED: dict[str, Callable[[Path], object]] = {
    'an empty file': size_of(0),
    'half a header': size_of(2048),
    'a header alone': size_of(HEADER_BYTES),
    'zeros': size_of(HEADER_BYTES + 4096),
    'a text': lambda path: path.write_text('no segment\n' * 1000),
    'a huge file': lambda path: os.truncate(
        os.open(path, os.O_CREAT | os.O_RDWR), HEADER_BYTES + (1 << 30) + 1
    ),
    'another magic': word(W_MAGIC, 0x324D5254534D4853),
    'no magic yet': word(W_MAGIC, 0),
    'an older layout': word(W_VERSION, 1),
    'a newer layout': word(W_VERSION, LAYOUT_VERSION + 1),
    'a smaller capacity': word(W_CAPACITY, 4096),
    'a larger capacity': word(W_CAPACITY, 1 << 20),
    'no capacity': word(W_CAPACITY, 0),
    'an endless capacity': word(W_CAPACITY, (1 << 64) - 1),
    'an empty id': word(W_ID_LENGTH, 0),
    'an id that is too long': word(W_ID_LENGTH, 513),
    'an alias that is too long': word(W_ALIAS_LENGTH, 441),
    'a type that is too long': word(W_TYPE_LENGTH, 257),
    'headers that are too long': word(W_KEPT_LENGTH, 753),
    'a file cut short': resized(HEADER_BYTES + 60_000),
    'a file cut to its header': resized(HEADER_BYTES),
    'a file that grew': resized(HEADER_BYTES + 65_537),
    'a symbolic link': link,
    'a directory': Path.mkdir,
    'a pipe': os.mkfifo,
    'a socket': listen,
    "another user's file": foreign,
}


@pytest.mark.parametrize('what', REFUSED)
def test_what_is_not_a_segment_is_refused(path: Path, what: str) -> None:
    REFUSED[what](path)
    before = set(os.listdir('/proc/self/fd'))
    with pytest.raises(LayoutMismatch):
        Segment.attach(path)
    gc.collect()
    assert set(os.listdir('/proc/self/fd')) <= before


def test_what_is_not_there_is_not_found(path: Path) -> None:
    with pytest.raises(StreamNotFound):
        Segment.attach(path)


# -- lives -----------------------------------------------------------------------------


def test_a_mapping_shows_its_own_session_after_another_took_the_name(
    path: Path, tmp_path: Path
) -> None:
    first, fd = create(path, generation=1)
    os.close(fd)
    RingWriter(first.view).append(b'first')
    reader = Segment.attach(path)
    second, fd = create(tmp_path / 'aside', generation=2)
    os.close(fd)
    os.rename(tmp_path / 'aside', path)
    RingWriter(second.view).append(b'second')
    assert RingReader(reader.view).read(0) == b'first'
    assert Segment.attach(path).generation.endswith('2')
    path.unlink()
    assert RingReader(reader.view).read(0) == b'first'


def test_a_mapping_and_its_descriptor_go_with_their_last_use(path: Path) -> None:
    os.close(create(path)[1])
    gc.collect()
    before = len(os.listdir('/proc/self/fd'))
    segment: Segment | None = Segment.attach(path)
    assert segment is not None
    reader: RingReader | None = RingReader(segment.view)
    segment = None
    gc.collect()
    assert os.fspath(path) in Path('/proc/self/maps').read_text()
    reader = None
    assert reader is None
    gc.collect()
    assert os.fspath(path) not in Path('/proc/self/maps').read_text()
    assert len(os.listdir('/proc/self/fd')) == before


def test_only_followers_of_living_workers_count(path: Path) -> None:
    mine, fd = create(path)
    os.close(fd)
    other = Segment.attach(path)
    epochs = {0: 0x1111_1111_0000_0000, 7: 0x2222_2222_0000_0000}
    mine.followers.add(0, epochs[0], +1)
    mine.followers.add(0, epochs[0], +1)
    other.followers.add(7, epochs[7], +1)
    assert mine.followers.everywhere(lambda slot: epochs.get(slot, 0)) == 3
    # The worker in slot 0 died; another one has the slot now.
    epochs[0] = 0x3333_3333_0000_0000
    assert mine.followers.everywhere(lambda slot: epochs.get(slot, 0)) == 1
    del epochs[0]
    assert mine.followers.everywhere(lambda slot: epochs.get(slot, 0)) == 1
    other.followers.add(7, epochs[7], -1)
    assert mine.followers.everywhere(lambda slot: epochs.get(slot, 0)) == 0


def test_a_place_is_its_worker_s_as_long_as_that_lives(path: Path) -> None:
    mine, fd = create(path)
    os.close(fd)
    other = Segment.attach(path)
    epochs = {0: 0x1111_1111_0000_0000, 7: 0x2222_2222_000F_FFFF}

    def places() -> dict[int, int]:
        return mine.places(bytes(mine.view[B_PLACES]), lambda slot: epochs.get(slot, 0))

    assert places() == {}
    other.set_place(0, epochs[0], 0)
    other.set_place(7, epochs[7], 4095)
    assert places() == {0: 0, 7: 4095}
    # The worker in slot 0 died; another one has the slot now, and the same place.
    before = mine.words[W_PLACES]
    epochs[0] = 0x3333_3333_0000_0000
    assert places() == {7: 4095}
    other.set_place(0, epochs[0], 0)
    assert mine.words[W_PLACES] != before
    assert places() == {0: 0, 7: 4095}
    other.set_place(7, epochs[7], None)
    assert places() == {0: 0}
    del epochs[0]
    assert places() == {}
