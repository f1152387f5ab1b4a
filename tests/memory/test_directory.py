"""The runtime directory: private to its user, or refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shmstream import (
    DirectoryRefused,
    LayoutMismatch,
    Streams,
    SupervisorUnavailable,
)
from shmstream.errors import SettingsError
from shmstream.memory.directory import RuntimeDirectory, directory_from_environment
from shmstream.memory.worker_table import TABLE_BYTES, WorkerTable
from shmstream.settings import Settings
from tests.support.child import ROOT
from tests.support.leaks import SHM, semaphores


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'run'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_directory_is_private(path: Path) -> None:
    before = os.umask(0)
    try:
        RuntimeDirectory(path).create()
    finally:
        os.umask(before)
    assert mode(path) & 0o777 == mode(path / 'sessions') == 0o700


def test_a_directory_says_whether_it_was_made(path: Path, tmp_path: Path) -> None:
    directory = RuntimeDirectory(path)
    assert not directory.made
    for _ in range(2):
        directory.create()
        assert directory.made
    kept = RuntimeDirectory(tmp_path / 'kept')
    kept.path.mkdir(mode=0o700)
    kept.create()
    assert not kept.made


@pytest.mark.parametrize('bits', [0o755, 0o701, 0o710, 0o720, 0o777])
@pytest.mark.parametrize('which', ['.', 'sessions'])
def test_what_is_open_to_others_is_refused(path: Path, bits: int, which: str) -> None:
    RuntimeDirectory(path).create()
    (path / which).chmod(bits)
    with pytest.raises(DirectoryRefused, match='chmod 700'):
        RuntimeDirectory(path).create()


def test_a_link_is_refused_wherever_it_leads(path: Path, tmp_path: Path) -> None:
    RuntimeDirectory(tmp_path / 'real').create()
    path.symlink_to(tmp_path / 'real')
    for refuse in (RuntimeDirectory(path).create, RuntimeDirectory(path).check):
        with pytest.raises(DirectoryRefused, match='is not a directory'):
            refuse()


def test_a_link_to_nowhere_is_refused(path: Path) -> None:
    path.symlink_to('nowhere')
    with pytest.raises(DirectoryRefused):
        RuntimeDirectory(path).create()
    assert not path.with_name('nowhere').exists()


def test_a_file_in_its_place_is_refused(path: Path) -> None:
    path.write_text('mine')
    with pytest.raises(DirectoryRefused, match='is not a directory'):
        RuntimeDirectory(path).create()
    assert path.read_text() == 'mine'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give things away')
def test_another_user_s_directory_is_refused(path: Path) -> None:
    RuntimeDirectory(path).create()
    os.chown(path, 65534, 65534)
    with pytest.raises(DirectoryRefused, match='belongs to user 65534'):
        RuntimeDirectory(path).check()


def test_what_is_not_there_is_refused_until_it_is_made(path: Path) -> None:
    with pytest.raises(DirectoryRefused, match='is not there'):
        RuntimeDirectory(path).check()
    assert not path.exists()


def test_a_place_that_cannot_be_made_is_refused(path: Path) -> None:
    with pytest.raises(DirectoryRefused, match='cannot make'):
        RuntimeDirectory(path / 'deep' / 'down').create()


def test_a_path_too_long_for_a_socket_is_refused_before_it_is_made(
    tmp_path: Path,
) -> None:
    path = tmp_path / ('x' * 100)
    with pytest.raises(DirectoryRefused, match='at most 107 bytes'):
        RuntimeDirectory(path).create()
    assert not path.exists()


DEFAULT = Path(f'/dev/shm/shmstream-{os.geteuid()}')


def test_the_default_is_one_directory_for_each_user() -> None:
    assert directory_from_environment() == DEFAULT


@pytest.mark.parametrize('blank', ['', ' ', '\t'])
def test_a_blank_setting_is_the_default_for_everybody(
    monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    monkeypatch.setenv('SHMSTREAM_DIR', blank)
    assert directory_from_environment() == DEFAULT
    assert Settings.from_environment().dir == DEFAULT
    assert Settings().dir == DEFAULT


def test_a_relative_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SHMSTREAM_DIR', 'streams')
    for reader in (directory_from_environment, Settings.from_environment):
        with pytest.raises(SettingsError, match=r'^SHMSTREAM_DIR: .*absolute'):
            reader()
    with pytest.raises(SettingsError, match=r'^SHMSTREAM_DIR: '):
        Streams.attach()


def test_no_supervisor_works_in_a_directory_that_is_refused(path: Path) -> None:
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    command = [sys.executable, '-m', 'shmstream.supervisor', '--directory', str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20)
    assert done.returncode == 1
    assert b'chmod 700' in done.stderr
    assert done.stderr.count(b'\n') == 1
    assert list(path.iterdir()) == []


def test_nothing_of_a_deployment_is_open_to_others(
    directory: Path, streams: Streams
) -> None:
    with streams.create('c') as producer:
        producer.write(b'x')
        paths = [directory, *directory.rglob('*')]
        paths += [SHM / name for name in semaphores(directory)]
        assert {path.name for path in paths} >= {
            'supervisor.lock',
            'supervisor.sock',
            'supervisor.json',
            'workers',
            'sessions',
        }
        assert len(paths) >= 8
        assert [str(path) for path in paths if mode(path) & 0o077] == []


# -- the worker table ------------------------------------------------------------------


def test_a_table_is_not_there_before_a_supervisor(path: Path) -> None:
    with pytest.raises(SupervisorUnavailable):
        WorkerTable.attach(path)


@pytest.mark.parametrize(
    ('at', 'value'), [(0, 0), (0, 0x314B524F574D4854), (8, 4), (8, 2)]
)
def test_a_damaged_table_is_refused(path: Path, at: int, value: int) -> None:
    WorkerTable.create(path, made_directory=False)
    with path.open('r+b') as file:
        file.seek(at)
        file.write(value.to_bytes(8, 'little'))
    with pytest.raises(LayoutMismatch):
        WorkerTable.attach(path)
    os.truncate(path, TABLE_BYTES - 1)
    with pytest.raises(LayoutMismatch):
        WorkerTable.attach(path)


def test_slots_are_given_and_taken_back(path: Path) -> None:
    made = WorkerTable.create(path, made_directory=False)
    table = WorkerTable.attach(path)
    assert [table.epoch(slot) for slot in range(64)] == [0] * 64
    made.take(3, 0xABC, os.getpid())
    assert (table.epoch(3), table.pid(3)) == (0xABC, os.getpid())
    assert table.slot_of(0xABC) == 3
    made.count_cancel(3)
    assert (table.cancels(2), table.cancels(3)) == (0, 1)
    made.count_look(3)
    assert (table.looks(2), table.looks(3)) == (0, 1)
    made.free(3)
    assert table.slot_of(0xABC) is None
    assert not table.made_directory


def test_a_slot_s_board_takes_memory_only_once_it_is_backed(path: Path) -> None:
    table = WorkerTable.create(path, made_directory=False)
    board = 4096 * 8
    before = path.stat().st_blocks * 512
    assert before <= TABLE_BYTES - 64 * board + 4096
    for slot, boards in ((0, 1), (63, 2), (63, 2), (5, 3)):
        table.words[table.place_at(slot, 7)] = 99
        table.back_board(path, slot)
        # Some file systems take a block to note what is where.
        more = path.stat().st_blocks * 512 - before
        assert boards * board <= more < (boards + 1) * board
        # It is backed again for the slot's next worker: nothing is cleared.
        assert table.words[table.place_at(slot, 7)] == 99
    assert path.stat().st_size == TABLE_BYTES


def test_no_word_of_the_table_is_anybody_else_s() -> None:
    naps = [WorkerTable.nap_at(slot) for slot in range(64)]
    boards = [WorkerTable.place_at(slot, 0) for slot in range(64)]
    slots = [range(nap - 8, nap + 8) for nap in naps]
    spans = [range(8), *slots, *(range(at, at + 4096) for at in boards)]
    words = [word for span in spans for word in span]
    assert len(words) == len(set(words))
    assert max(words) == TABLE_BYTES // 8 - 1
    # A board begins with a page: it is backed by memory in whole pages.
    assert all(at * 8 % 4096 == 0 for at in boards)
