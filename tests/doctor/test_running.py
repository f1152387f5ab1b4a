"""A deployment that runs is examined with what it runs with, and is not disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmstream import Streams, SupervisorConfig
from shmstream.doctor import examined
from shmstream.doctor.running import find
from shmstream.memory.directory import RuntimeDirectory
from tests.doctor.cases import BITES, NOTE, OK, case_of, look
from tests.support.child import Child, hear, say
from tests.support.leaks import LeakGuard, wait_until
from tests.support.service import ROOT, Service
from tests.support.supervisor import gone, stop
from tests.support.unshare import needs_unshare


@pytest.fixture(scope='module')
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that everybody can reach, without keys."""
    log = tmp_path_factory.mktemp('open') / 'service.log'
    with Service(
        log, workers=2, bind='0.0.0.0:0', control_socket=True, settings={'DRAIN': '7'}
    ) as service:
        yield service


def doctor(
    service: Service, *prefix: str, **environ: str
) -> tuple[int, dict[str, Any]]:
    """Run the command from a shell that knows nothing of the service's settings."""
    command = [*prefix, sys.executable, '-m', 'shmstream', 'doctor', '--json']
    done = subprocess.run(
        [*command, '--dir', str(service.directory)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    found = json.loads(done.stdout)['findings']
    return done.returncode, {each['check']: each for each in found}


def test_a_running_service_without_keys_bites(open_service: Service) -> None:
    code, found = doctor(open_service)
    assert code == 1
    bites = {name for name, each in found.items() if each['result'] == BITES}
    assert bites == {'access'}, found
    assert f'0.0.0.0:{open_service.port}' in found['access']['what']
    # Its own settings count, not those of the shell.
    assert 'at a reload for 7 s' in found['timeouts']['what']
    assert found['workers']['what'] == '2 workers of class asgi'
    assert str(open_service.directory) not in found['leftovers']['what']
    # Nobody was disturbed: the one warning is of the start.
    assert open_service.text().count('[WARNING]') == 1


def test_a_running_service_with_keys_does_not_bite(
    open_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = examined(open_service.directory)
    assert case.running is not None
    assert isinstance(case.environ, dict)
    assert look('access', case).result == BITES
    keyed = case_of(open_service.directory, API_KEYS='one').found
    monkeypatch.setitem(case.__dict__, 'found', keyed)
    assert look('access', case).result == OK


def test_versions(open_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    case = examined(open_service.directory)
    assert look('versions', case).result == OK
    monkeypatch.setattr('shmstream.doctor.versions.__version__', '99.1')
    found = look('versions', case)
    assert (found.result, '99.1 is installed' in found.what) == (NOTE, True)
    monkeypatch.setattr('shmstream.doctor.versions.FORMAT', [99, 1])
    found = look('versions', case)
    assert (found.result, 'USR2' in found.do) == (BITES, True)


def test_a_wall_clock_that_was_set_is_noted(open_service: Service) -> None:
    case = examined(open_service.directory)
    assert look('clocks', case).result == OK
    file = case.directory.settings
    before = file.stat().st_mtime
    os.utime(file, (before - 3600, before - 3600))
    try:
        found = look('clocks', case)
    finally:
        os.utime(file, (before, before))
    assert (found.result, found.what[:27]) == (NOTE, 'the wall clock was set by +')
    assert '3600' in found.what or '3599' in found.what or '3601' in found.what


@needs_unshare
def test_another_time_namespace_bites(open_service: Service) -> None:
    shift = ('unshare', '--time', '--boottime', '86400', 'sh', '-c', 'exec "$@"', 'sh')
    _, found = doctor(open_service, *shift)
    assert found['clocks']['result'] == BITES
    assert 'time namespace' in found['clocks']['what']


def live(directory: str) -> None:
    """A program that streams, until it is killed."""
    streams = Streams.attach(directory, supervise=SupervisorConfig(capacity=65536))
    producer = streams.create('left')
    producer.write(b'data: 1\n\n')
    say(streams.status()['pid'])
    hear()


def test_what_a_killed_deployment_has_left_is_noted(
    directory: Path, guard: LeakGuard
) -> None:
    with Child(live, directory) as child:
        supervisor = child.hear()
        guard.note()
        case = case_of(directory)
        assert str(directory) not in look('leftovers', case).what
        os.kill(supervisor, signal.SIGKILL)
        child.kill()
    assert wait_until(lambda: gone(supervisor))
    found = look('leftovers', case)
    # The next deployment takes it over, and removes it at its end.
    with Streams.attach(directory, supervise=True) as streams:
        streams.connect()
        guard.note()
        later = look('leftovers', case)
        pid = streams.status()['pid']
    stop(pid)
    assert (found.result, found.do) == (NOTE, 'shmstream clean')
    # Others may have left something on this machine, too; this one comes first.
    assert f': {directory} (1 streams)' in found.what
    assert str(directory) not in later.what


def test_a_supervisor_that_does_not_answer_bites(
    directory: Path, guard: LeakGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('shmstream.doctor.running.ASK_S', 0.2)
    with Streams.attach(directory, supervise=True) as streams:
        pid = streams.status()['pid']
        guard.note()
        os.kill(pid, signal.SIGSTOP)
        try:
            case = examined(directory)
            found = look('versions', case)
        finally:
            os.kill(pid, signal.SIGCONT)
    stop(pid)
    assert case.running is None
    assert (found.result, 'does not answer' in found.what) == (BITES, True)


@pytest.mark.parametrize(
    'told', [{}, {'pid': 'x'}, {'masters': ['../../etc']}, {'max_memory': None}]
)
def test_a_supervisor_that_lies_is_none(
    directory: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, object]
) -> None:
    good = {'pid': 1, 'masters': [1], 'max_memory': 1, 'memory': 1}
    answer = {**good, **told} if told else {}
    directory.mkdir(mode=0o700)
    monkeypatch.setattr('shmstream.doctor.running.ask', lambda *_, **__: answer)
    assert find(RuntimeDirectory(directory)) is None
    directory.rmdir()
