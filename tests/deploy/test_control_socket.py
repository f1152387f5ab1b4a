"""F97: gunicorn's control socket is the deployment's own."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shmstream.deploy import control_socket
from shmstream.memory.directory import RuntimeDirectory
from tests.support.leaks import wait_until
from tests.support.service import Service


def workers(path: Path, home: Path) -> Any:
    """What a gunicorn says of its workers, asked by its own client."""
    gunicornc = Path(sys.executable).parent / 'gunicornc'
    asked = subprocess.run(
        [gunicornc, '-s', path, '-j', '-c', 'show workers'],
        env=os.environ | {'HOME': str(home)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return json.loads(asked.stdout)['workers']


@pytest.fixture
def start(serve: Callable[..., Service], tmp_path: Path) -> Callable[..., Service]:
    home = {'HOME': str(tmp_path), 'XDG_RUNTIME_DIR': ''}

    def start(**options: Any) -> Service:
        return serve(workers=2, control_socket=True, environment=home, **options)

    return start


def test_f97_two_gunicorns_of_a_user_have_a_socket_each(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    first, second = start(), start()
    for service in (first, second):
        path = service.directory / 'gunicorn.ctl'
        assert wait_until(path.exists)
        assert wait_until(lambda p=path: stat.S_IMODE(p.stat().st_mode) == 0o600)  # type: ignore[misc]
        pids = {worker['pid'] for worker in workers(path, tmp_path)}
        assert pids == set(service.worker_pids())
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    assert len(workers(first.directory / 'gunicorn.ctl', tmp_path)) == 2
    assert not (tmp_path / '.gunicorn').exists()


def test_f97_a_master_and_its_successor_have_a_socket_each(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    service = start()
    first = service.directory / 'gunicorn.ctl'
    second = service.directory / 'gunicorn-2.ctl'
    assert wait_until(first.exists)
    os.kill(service.master, signal.SIGUSR2)
    assert wait_until(second.exists)
    assert len(workers(first, tmp_path)) == 2
    # Backed out of: the first goes on as it was.
    masters = re.findall(r'Listening at: \S+ \((\d+)\)', service.text())
    assert len(masters) == 2
    os.kill(int(masters[1]), signal.SIGTERM)
    assert wait_until(lambda: not second.exists())
    assert len(workers(first, tmp_path)) == 2


def test_f97_one_that_is_set_is_left_where_it_is(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    mine = tmp_path / 'mine.ctl'
    service = start(arguments=('--control-socket', str(mine)))
    assert wait_until(mine.exists)
    assert not (service.directory / 'gunicorn.ctl').exists()


def test_f97_what_a_killed_master_has_left_is_nobody_s(tmp_path: Path) -> None:
    from gunicorn.config import Config

    directory = RuntimeDirectory(tmp_path)
    first, _ = directory.control_sockets
    import socket

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(first))
    cfg = Config()
    log = logging.getLogger('test')
    control_socket.place(cfg, log, directory, succeeds=True)
    assert cfg.control_socket == str(first)
