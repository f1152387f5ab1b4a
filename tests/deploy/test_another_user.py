"""gunicorn started by root with ``--user``: it works as that user, or says why not."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http.test_settings import refused
from tests.support.client import path
from tests.support.leaks import LeakGuard, wait_until
from tests.support.service import ROOT, Service, fresh_directory
from tests.support.supervisor import gone

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which('unshare') is None,
    reason='running as another user takes root',
)

UID = 61_000 + os.getpid() % 4_000
"""A user without a name, and of no other test."""

GID = UID + 1
AS_USER = ('--user', str(UID), '--group', str(GID))

REACHABLE = (
    *('unshare', '-m', sys.executable, '-m', 'tests.support.reachable'),
    *(sys.base_prefix, sys.prefix, str(ROOT), '--'),
)


def owners(place: Path) -> set[tuple[int, int]]:
    """Who has a runtime directory and what is in it."""
    found = [file.lstat() for file in (place, *place.rglob('*'))]
    assert len(found) > 4
    return {(file.st_uid, file.st_gid) for file in found}


def ids(pid: int) -> tuple[int, int]:
    """The user and the group that a process runs as."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    told = {line.partition(':')[0]: line.split()[1:] for line in lines}
    return int(told['Uid'][1]), int(told['Gid'][1])


def streams(service: Service, name: str) -> None:
    """A stream is made, read again by any worker, and stopped."""
    client = service.client()
    with client.post(name, {'max_tokens': 3}) as post:
        whole = post.rest()
    assert whole.endswith(b'data: [DONE]\n\n')
    for _ in range(4):
        assert client.get(path(name)).body == whole
    assert client.delete(path(name)).status == 204


@pytest.fixture
def place() -> Iterator[Path]:
    """A runtime directory that the test itself makes or not."""
    guard = LeakGuard(fresh_directory())
    yield guard.directory
    guard.check()


@pytest.mark.parametrize('default', [False, True], ids=['set', 'default'])
def test_it_works_as_the_user_through_its_whole_life(
    serve: Callable[..., Service], tmp_path: Path, default: bool
) -> None:
    """Start, reload, a dead supervisor, an upgrade in place, and the end.

    Result: one supervisor at any time, the user's, in one directory that is the user's.
    """
    directory = Path(f'/dev/shm/shmstream-{UID}') if default else fresh_directory()
    pidfile = tmp_path / 'pid'
    service = serve(
        workers=2,
        prefix=REACHABLE,
        directory=directory,
        settings={'DIR': ' '} if default else {},
        arguments=(*AS_USER, '--pid', str(pidfile)),
    )
    ready = 'ASGI server listening'
    (supervisor,) = service.supervisors()
    assert ids(service.master) == (0, 0)
    assert {ids(pid) for pid in service.worker_pids()} == {(UID, GID)}
    assert ids(supervisor) == (UID, GID)
    streams(service, 'begin')
    assert owners(directory) == {(UID, GID)}

    service.signal(signal.SIGHUP)
    assert wait_until(lambda: service.text().count(ready) == 4, 30)
    streams(service, 'reloaded')
    assert service.supervisors() == [supervisor]

    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: service.supervisors() not in ([], [supervisor]), 20)
    streams(service, 'succeeded')
    assert wait_until(lambda: len(service.supervisors()) == 1)
    (supervisor,) = service.supervisors()
    assert ids(supervisor) == (UID, GID)

    service.signal(signal.SIGUSR2)
    assert wait_until(lambda: service.text().count(ready) == 6, 30)
    second = Path(f'{pidfile}.2')
    assert wait_until(second.exists)
    successor = int(second.read_text())
    streams(service, 'upgraded')
    assert service.supervisors() == [supervisor]
    os.kill(successor, signal.SIGTERM)
    assert wait_until(lambda: gone(successor), 30)
    streams(service, 'backed-out')
    assert owners(directory) == {(UID, GID)}
    # Leaving, the fixture finds nothing left.


def test_f97_root_puts_no_control_socket_where_the_user_could_put_a_link(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    service = serve(
        workers=2,
        prefix=REACHABLE,
        control_socket=True,
        environment={'HOME': str(tmp_path), 'XDG_RUNTIME_DIR': ''},
        arguments=AS_USER,
    )
    roots = tmp_path / '.gunicorn' / 'gunicorn.ctl'
    assert wait_until(roots.exists)
    assert roots.stat().st_uid == 0
    assert f'the control socket stays at {roots}' in service.text()
    streams(service, 'controlled')
    assert owners(service.directory) == {(UID, GID)}
    assert not list(service.directory.glob('*.ctl'))


def test_a_group_of_its_own_needs_no_user(serve: Callable[..., Service]) -> None:
    service = serve(workers=2, arguments=('--group', str(GID)))
    (supervisor,) = service.supervisors()
    assert ids(supervisor) == (0, GID)
    streams(service, 'grouped')
    assert owners(service.directory) == {(0, GID)}


@pytest.mark.parametrize('umask', ['0', '0o777'])
def test_its_files_are_private_whatever_the_umask(
    serve: Callable[..., Service], umask: str
) -> None:
    arguments = (*AS_USER, '--umask', umask)
    service = serve(workers=2, prefix=REACHABLE, arguments=arguments)
    streams(service, 'masked')
    for file in (service.directory, *service.directory.rglob('*')):
        assert file.lstat().st_mode & 0o077 == 0, file


def test_a_directory_of_root_is_refused(tmp_path: Path, place: Path) -> None:
    place.mkdir(mode=0o700)
    service = Service(
        tmp_path / 'log', prefix=REACHABLE, directory=place, arguments=AS_USER
    )
    refused(service, 'SHMSTREAM_DIR', f'belongs to user 0, not {UID}')
    place.rmdir()


def test_where_the_user_may_make_no_directory_it_says_so(
    tmp_path: Path, place: Path
) -> None:
    place.mkdir(mode=0o755)
    service = Service(
        tmp_path / 'log', prefix=REACHABLE, directory=place / 'x', arguments=AS_USER
    )
    refused(service, f'user {UID} cannot make {place / "x"}')
    place.rmdir()


def test_a_python_that_the_user_cannot_run_is_said(tmp_path: Path, place: Path) -> None:
    # This very environment, below a folder that is closed to others.
    (tmp_path / 'bin').mkdir()
    python = tmp_path / 'bin' / 'python'
    python.symlink_to(os.path.realpath(sys.executable))
    (tmp_path / 'lib').symlink_to(Path(sys.prefix) / 'lib')
    shutil.copy(Path(sys.prefix) / 'pyvenv.cfg', tmp_path)
    tmp_path.chmod(0o700)
    service = Service(
        tmp_path / 'log',
        prefix=('sh', '-c', 'shift; exec "$0" "$@"', str(python)),
        directory=place,
        arguments=AS_USER,
    )
    refused(service, f'user {UID} cannot run the supervisor', 'Permission denied')
