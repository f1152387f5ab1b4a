"""The commands of image and unit, run by the rules of both as far as a kernel has them.

There is neither Docker nor a running systemd here. What they would do is done by
``unshare`` and ``setpriv``: a root that is read-only, a ``/dev/shm`` of its own, a user
without a name or a capability, and for the image process 1 of a pid namespace.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations import shipped
from tests.operations.test_numbers import needs_systemd
from tests.support.client import Client, path
from tests.support.filtered import CALLS, allowed
from tests.support.leaks import LeakGuard, wait_until
from tests.support.nginx import free_port
from tests.support.service import ROOT, Service

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which('unshare') is None,
    reason='namespaces take root and unshare',
)

USER = str(61_000 + os.getpid() % 4_000)
"""A user without a name, and of no other test."""

SCRIPTS = Path(sys.executable).parent


class Emptied(LeakGuard):
    """The runtime directory is systemd's: it is left empty, and systemd removes it."""

    def check(self, wait_s: float = 10.0) -> None:
        """Fail unless nothing but the directory is left; remove it."""
        wait_until(lambda: self.left() == [str(self.directory)], wait_s)
        assert self.left() == [str(self.directory)]
        self.directory.rmdir()


@pytest.fixture
def place() -> Iterator[Path]:
    """A runtime directory that is there before the service, as systemd makes it."""
    directory = Path(f'/run/shmstream-test-{os.getpid()}')
    directory.mkdir(mode=0o700)
    os.chown(directory, int(USER), int(USER))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def contained(shm: int, *kept: Path, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The command that runs another one as a container or a unit does."""
    reach = ('tests.support.reachable', sys.base_prefix, sys.prefix, str(ROOT))
    python = (sys.executable, '-B', '-m')
    inner = ('tests.support.contained', USER, str(shm), *map(str, kept))
    return ('unshare', '-m', *more, *python, *reach, '--', *python, *inner, '--')


@needs_systemd
def test_the_unit_runs_by_its_rules(place: Path, tmp_path: Path) -> None:
    """It tells systemd when it is up, reloads, and leaves its directory empty."""
    unit, told = shipped.unit(), shipped.unit_environment()
    (start,) = unit['ExecStart']
    assert start == '/opt/shmstream/bin/shmstream serve'
    assert (unit['UMask'], unit['RuntimeDirectoryMode']) == (['0077'], ['0700'])
    arguments = told['GUNICORN_CMD_ARGS'].replace(told['SHMSTREAM_DIR'], str(place))
    settings = {'MAX_MEMORY': told['SHMSTREAM_MAX_MEMORY'], 'DEMO_RATE': '100'}
    files = int(unit['LimitNOFILE'][0])
    limited = ('prlimit', f'--nofile={min(files, _hard())}')
    filtered = (sys.executable, '-B', '-m', 'tests.support.filtered')
    calls = ','.join(allowed(unit['SystemCallFilter']))
    name = f'@shmstream-test-{os.getpid()}'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind('\0' + name[1:])
        notified.settimeout(60)
        service = Service(
            tmp_path / 'service.log',
            workers=2,
            directory=place,
            settings=settings,
            arguments=tuple(shlex.split(arguments)[2:]),
            control_socket=True,
            environment={'NOTIFY_SOCKET': name, CALLS: calls},
            prefix=(*limited, *contained(1 << 26, place), *filtered),
        )
        service.guard = Emptied(place)
        with service:
            assert b'READY=1' in notified.recv(1024)
            client = service.client()
            with client.post('one', {'max_tokens': 20}) as post:
                whole = post.rest()
            assert whole.endswith(b'data: [DONE]\n\n')
            service.signal(signal.SIGHUP)
            assert wait_until(lambda: service.text().count('ASGI server listen') == 4)
            assert client.get(path('one')).body == whole
            modes = {file.stat().st_mode & 0o077 for file in place.rglob('*')}
            assert modes == {0}
            assert 'WARNING' not in service.text(), service.text()


def _hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_the_image_runs_as_process_1(tmp_path: Path) -> None:
    """It is healthy, reaps what others leave, and a stop lets an answer end."""
    told = shipped.dockerfile()
    port = free_port()
    env = shipped.dockerfile_environment()
    env['GUNICORN_CMD_ARGS'] = env['GUNICORN_CMD_ARGS'].replace(
        '0.0.0.0:8000', f'127.0.0.1:{port}'
    )
    env |= {'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    env |= {'SHMSTREAM_DEMO_RATE': '50'}
    command = json.loads(told['CMD'])
    # No shell is process 1: it would not pass SIGTERM on.
    assert command[0] == 'shmstream'
    alone = ('--pid', '--fork', '--mount-proc', '--kill-child')
    run = contained(shipped.size(shipped.compose()['shm_size']), more=alone)
    log = tmp_path / 'log'
    with log.open('wb') as out:
        process = subprocess.Popen(
            [*run, str(SCRIPTS / command[0]), *command[1:]],
            env=env,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        health = shipped.dockerfile()['HEALTHCHECK'].partition('CMD ')[2]
        check = [text.replace('8000', str(port)) for text in json.loads(health)]

        def healthy() -> bool:
            assert process.poll() is None, log.read_text()
            done = subprocess.run(check, env=env, capture_output=True, cwd=tmp_path)
            return done.returncode == 0

        assert wait_until(healthy), log.read_text()
        (first,) = _children(process.pid)
        assert _name(first) != 'unshare'
        inside = Path(f'/proc/{first}/status').read_text()
        assert f'\nNSpid:\t{first}\t1\n' in inside
        assert f'\nUid:\t{USER}\t' in inside

        # An orphan is given to process 1, which has to reap it.
        orphan = ['sh', '-c', 'sleep 0.2 & echo $!']
        subprocess.run(
            ['nsenter', '--target', str(first), '--pid', *orphan],
            check=True,
            capture_output=True,
        )
        assert wait_until(lambda: 'sleep' not in map(_name, _children(first)))

        with Client(port).post('last', {'max_tokens': 100}) as post:
            post.until(200)
            os.kill(first, signal.SIGTERM)
            assert post.rest().endswith(b'data: [DONE]\n\n')
            assert post.whole
        assert process.wait(60) == 0, log.read_text()
        assert not _is_healthy(check, env)
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert 'Traceback' not in text, text
    assert f'/dev/shm/shmstream-{USER}, up to' in text, text


def _is_healthy(check: list[str], env: dict[str, str]) -> bool:
    return subprocess.run(check, env=env, capture_output=True).returncode == 0


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f'/proc/{pid}/task/{pid}/children').read_text().split()))


def _name(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/comm').read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ''
