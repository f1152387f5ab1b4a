"""Memory: little is used, it is reserved before it is touched, and it may run out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from shmstream import Streams
from shmstream.memory.reservation import (
    MAX_EXTENT,
    extend_to,
    reserve_extent,
)
from shmstream.memory.segment_writer import segment_writer
from shmstream.memory.worker_table import TABLE_BYTES
from shmstream.ring.layout import HEADER_BYTES
from tests.memory import actors
from tests.memory.segments import create
from tests.support.child import Child


@pytest.fixture(scope='module')
def unshare() -> tuple[str, ...]:
    """The command that gives a process mounts of its own."""
    if os.geteuid() != 0:
        pytest.skip('only root can mount a small file system')
    try:
        subprocess.run(['unshare', '-m', 'true'], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as ex:
        pytest.skip(f'unshare does not work here: {ex}')
    return ('unshare', '-m')


def used(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.parametrize(
    ('size', 'at_most'), [(0, 20 << 10), (20_000, 40 << 10), (200_000, 300 << 10)]
)
def test_a_stream_takes_little_more_memory_than_its_bytes(
    size: int, at_most: int
) -> None:
    path = Path(f'/dev/shm/shmstream-test-{os.getpid()}-{size}.ring')
    segment, fd = create(path, capacity=4 << 20)
    try:
        writer = segment_writer(segment, fd)
        for _ in range(size // 200):
            writer.append(b'x' * 200)
        assert path.stat().st_size == HEADER_BYTES + (4 << 20)
        assert size < used(path) <= at_most
    finally:
        path.unlink()
        os.close(fd)


def test_a_ring_that_fills_up_asks_for_room_some_twenty_times(tmp_path: Path) -> None:
    segment, fd = create(tmp_path / 'segment', capacity=4 << 20)
    asked: list[int] = []
    inner = segment_writer(segment, fd)
    reserve = inner._reserve
    assert reserve is not None

    def counted(needed: int) -> int:
        asked.append(needed)
        return reserve(needed)

    inner._reserve = counted
    for _ in range(3 * (4 << 20) // 1000):
        inner.append(bytes(1000))
    os.close(fd)
    assert 12 <= len(asked) <= 24
    assert used(tmp_path / 'segment') >= HEADER_BYTES + (4 << 20)


@pytest.mark.parametrize(
    ('reserved', 'needed', 'capacity', 'backed'),
    [
        (0, 1, 4096, 4096),
        (16384, 16385, 1 << 20, 24576),
        (1 << 20, (1 << 20) + 1, 4 << 20, (1 << 20) + MAX_EXTENT),
        (16384, 3 << 20, 4 << 20, 3 << 20),
        (0, 5000, 5001, 5001),
        (65536, 70_000, 70_000, 70_000),
    ],
)
def test_extents_grow_by_half_to_a_limit_and_end_with_the_ring(
    tmp_path: Path, reserved: int, needed: int, capacity: int, backed: int
) -> None:
    with (tmp_path / 'file').open('w+b') as file:
        file.truncate(HEADER_BYTES + capacity)
        assert extend_to(reserved, needed, capacity) == backed
        reserve_extent(file.fileno(), reserved, backed)
        assert used(tmp_path / 'file') >= backed - reserved
        assert os.fstat(file.fileno()).st_size == HEADER_BYTES + capacity


@pytest.mark.parametrize('options', ['size=200k', 'size=10m,nr_inodes=6'])
def test_creating_without_room_says_so_and_leaves_nothing(
    unshare: tuple[str, ...], tmp_path: Path, options: str
) -> None:
    folder = tmp_path / 'small'
    with Child(actors.run_out_while_creating, folder, options, prefix=unshare) as child:
        found = child.hear()
        assert 3 <= found['made'] < 20
        assert found['files'] == found['made']
        assert 'no room for the stream' in found['error']
        assert child.hear() == 'again'


def test_writing_without_room_changes_nothing_and_can_go_on(
    unshare: tuple[str, ...], tmp_path: Path
) -> None:
    with Child(
        actors.run_out_while_writing, tmp_path / 'small', prefix=unshare
    ) as child:
        found = child.hear()
    assert 0 < found['written'] <= 1 << 20
    assert found['unchanged']
    assert found['last'], 'there was no room for a last event'
    assert found['goes_on']


def test_a_stream_that_runs_out_of_memory_ends_with_an_error_and_alone(
    unshare: tuple[str, ...], tmp_path: Path
) -> None:
    with Child(
        actors.run_out_as_a_service, tmp_path / 'small', prefix=unshare
    ) as child:
        found = child.hear()
        assert 1 << 19 < found['written'] < 2 << 20
        assert found['state'] == 'aborted'
        assert 'no room left for this stream' in found['end']
        after = child.hear()
    assert after['still']
    assert after['seen'] == 'data: kept\n\ndata: still\n\n'
    assert after['fits']
    assert sorted(after['there']) == ['new', 'other']


def test_a_worker_that_finds_no_room_for_its_doorbell_may_try_again(
    unshare: tuple[str, ...], tmp_path: Path
) -> None:
    with Child(
        actors.attach_without_room_for_a_doorbell, tmp_path, prefix=unshare
    ) as child:
        found = child.hear()
        assert found['refused'] in ('NoRoom', 'SupervisorUnavailable')
        after = child.hear()
    assert after == {'taken': 1, 'wrote': True}


def test_a_process_that_finds_no_room_for_its_board_is_told_and_may_try_again(
    unshare: tuple[str, ...], tmp_path: Path
) -> None:
    with Child(
        actors.attach_without_room_for_a_board, tmp_path, prefix=unshare
    ) as child:
        found = child.hear()
        message = 'no room for a board: No space left on device'
        assert found['refused'] == ['NoRoom', message]
        assert found['taken'] == 1
        assert child.hear() == {'wrote': True, 'refused': None, 'taken': 2}


def test_a_process_s_board_is_backed_by_memory_when_it_comes(
    directory: Path, streams: Streams
) -> None:
    """Producers store marks there, and must not find that there is no room."""
    board = 32768
    one = used(directory / 'workers')
    assert 12288 + board <= one < 12288 + 2 * board
    for _ in range(2):
        with (
            Child(actors.take_part, directory) as second,
            Child(actors.take_part, directory) as third,
        ):
            for child in (second, third):
                child.say('connect')
                assert child.hear() is None
            assert used(directory / 'workers') == one + 2 * board
            assert (directory / 'workers').stat().st_size == TABLE_BYTES
