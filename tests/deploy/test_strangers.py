"""Modules of others that have the names of Python's own, where Python may look."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import posix_ipc
import pytest

from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.service import ROOT, Service

BESIDE_GUNICORN = ('secrets', 'token', 'selectors', 'argparse', 'runpy')
"""What plain gunicorn serves beside; with others it does not come up itself."""

ANY = (*BESIDE_GUNICORN, 'json', 'socket', 'logging', 'posix_ipc')


@pytest.fixture
def strangers(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of modules that say who imports them, and end whoever does."""
    folder = tmp_path / 'strangers'
    folder.mkdir()
    for name in getattr(request, 'param', BESIDE_GUNICORN):
        text = "import sys; sys.exit('a stranger was imported: ' + __name__)\n"
        (folder / f'{name}.py').write_text(text)
    return folder


def streams_and_succeeds(service: Service) -> None:
    """It serves, and so it does with a second supervisor, which a worker starts."""
    client = service.client()
    (first,) = service.supervisors()
    with client.post('one', {'max_tokens': 2}) as post:
        assert post.rest().endswith(b'[DONE]\n\n')
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: service.supervisors() not in ([], [first]), 20)
    with client.post('two', {'max_tokens': 2}) as post:
        assert post.rest().endswith(b'[DONE]\n\n')
    assert client.get(path('two')).status == 200
    assert 'stranger' not in service.text()


@pytest.mark.parametrize('how', ['cwd', 'chdir'])
def test_strangers_in_the_working_directory_are_not_imported(
    serve: Callable[..., Service], strangers: Path, how: str
) -> None:
    if how == 'cwd':
        service = serve(workers=2, cwd=strangers)
    else:
        service = serve(workers=2, arguments=('--chdir', str(strangers)))
    streams_and_succeeds(service)


@pytest.mark.parametrize('strangers', [ANY], indirect=True, ids=['any'])
@pytest.mark.parametrize('safe', ['', '1'])
def test_strangers_on_the_path_do_not_end_the_supervisor(
    directory: Path, strangers: Path, safe: str
) -> None:
    """A program that has loaded what it needs puts them there, as ``PYTHONPATH`` is."""
    code = (
        'import os, sys; from shmstream import Streams;'
        "os.environ['PYTHONPATH'] = sys.argv[2]; os.chdir(sys.argv[2]);"
        'sys.path.insert(0, sys.argv[2]);'
        'streams = Streams.attach(sys.argv[1], supervise=True);'
        "streams.connect(); streams.create('c').finish();"
        "print(streams.status()['pid'])"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(directory), str(strangers)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONSAFEPATH': safe, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b'stranger' not in done.stderr


def test_what_the_path_alone_makes_known_is_found(
    directory: Path, tmp_path: Path
) -> None:
    """As ``pip install --target`` leaves it: known by ``PYTHONPATH`` and nothing else.

    The package and what it needs are in two folders, one of them relative.
    """
    (tmp_path / 'ours').mkdir()
    (tmp_path / 'ours' / 'shmstream').symlink_to(ROOT / 'shmstream')
    (tmp_path / 'theirs').mkdir()
    extension = Path(posix_ipc.__file__)
    (tmp_path / 'theirs' / extension.name).write_bytes(extension.read_bytes())
    code = (
        'import os, sys; from shmstream import Streams; os.chdir("/");'
        'streams = Streams.attach(sys.argv[1], supervise=True);'
        "streams.connect(); print(streams.status()['ok'])"
    )
    done = subprocess.run(
        # The interpreter below the environment: it has nothing installed.
        [os.path.realpath(sys.executable), '-S', '-c', code, str(directory)],
        cwd=tmp_path,
        env={'PYTHONPATH': f'ours:{tmp_path / "theirs"}'},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.stdout, done.returncode) == ('True\n', 0), done.stderr


def test_another_version_that_comes_first_is_not_taken(
    directory: Path, tmp_path: Path
) -> None:
    """A supervisor is of the same version as whoever starts it."""
    other = tmp_path / 'shmstream'
    other.mkdir()
    (other / '__init__.py').write_text("raise SystemExit('another version')\n")
    isolated = ROOT / 'shmstream' / 'supervisor' / 'isolated.py'
    command = [sys.executable, str(isolated), str(tmp_path), 'shmstream.supervisor']
    done = subprocess.run(
        [*command, '--directory', str(directory), '--config', 'none'],
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 1
    assert 'another version' not in done.stderr
    assert done.stderr.startswith('shmstream supervisor: ')
