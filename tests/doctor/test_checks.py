"""Each check that needs no deployment: it bites where it should, and else does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shmstream.doctor import ServerSettings, examination, examine, quick
from shmstream.doctor.case import examined
from shmstream.doctor.examination import Check, run
from shmstream.doctor.finding import Finding, ok
from shmstream.doctor.server import ServerUnknown, read
from shmstream.settings import Settings
from tests.doctor.cases import BITES, NOTE, OK, UNKNOWN, case_of, look
from tests.support.service import ROOT
from tests.support.unshare import needs_unshare

BAD_MACHINE = {
    # The default of Docker is 64 MiB of /dev/shm; full rings are 4 MiB, or 64 KiB.
    'room': [OK, BITES, OK, BITES],
    'file system': [OK, BITES],
    'mappings': [OK, BITES],
    'memory limit': [OK, BITES, OK],
    # logind does not run; it runs; the directory is not in /dev/shm; RemoveIPC=no.
    'RemoveIPC': [OK, BITES, OK, OK],
}


@needs_unshare
def test_checks_bite_on_a_bad_machine() -> None:
    command = ['unshare', '-m', sys.executable, '-m', 'tests.support.bad_machine']
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, cwd=ROOT
    )
    found = json.loads(done.stdout)
    results = {name: [each[0] for each in seen] for name, seen in found.items()}
    assert results == BAD_MACHINE, found
    assert '7 full rings of 4.0 MiB' in found['room'][1][1]
    assert '--shm-size' in found['room'][1][2]
    assert (
        'of 4096' in found['mappings'][1][1]
        or '4096 are set' in (found['mappings'][1][1])
    )


@pytest.mark.parametrize(
    ('most', 'sessions', 'result'),
    [(512, 1, BITES), (8192, 4096, OK), (8192, 1, OK)],
)
def test_descriptors(directory: Path, most: int, sessions: int, result: str) -> None:
    """The process itself has a low limit."""
    case = f'case_of(Path({str(directory)!r}), MAX_SESSIONS="{sessions}")'
    assert in_a_process(
        'import resource\n'
        f'resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))\n'
        'from tests.doctor.cases import *\n'
        f'print(look("descriptors", {case}).result)'
    ) == [result]


def in_a_process(program: str) -> list[str]:
    """Run a program in an interpreter of its own; returns the lines that it prints."""
    done = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_settings(directory: Path) -> None:
    assert look('settings', case_of(directory)).result == OK
    bad = case_of(directory, DRAIN='soon')
    found = look('settings', bad)
    assert (found.result, found.what[:15]) == (BITES, 'SHMSTREAM_DRAIN')
    # What needs them could not look; what does not, did.
    assert look('room', bad).result == UNKNOWN
    assert look('directory', bad).result == OK


def test_directory(directory: Path, tmp_path: Path) -> None:
    assert look('directory', case_of(directory)).result == OK
    open_to_others = tmp_path / 'open'
    open_to_others.mkdir(mode=0o755)
    found = look('directory', case_of(open_to_others))
    assert (found.result, 'chmod 700' in found.what) == (BITES, True)
    open_to_others.chmod(0o700)
    assert look('directory', case_of(open_to_others)).result == OK
    assert look('directory', case_of(tmp_path / ('x' * 120))).result == BITES
    assert look('directory', case_of(tmp_path / 'no' / 'run')).result == BITES


def test_key_file(directory: Path, tmp_path: Path) -> None:
    keys = tmp_path / 'keys'
    keys.write_text('one\n')
    case = case_of(directory, API_KEYS_FILE=str(keys))
    keys.chmod(0o644)
    assert look('key file', case).result == BITES
    keys.chmod(0o640)
    assert look('key file', case).result == OK


@pytest.mark.parametrize(
    ('bind', 'keys', 'result'),
    [
        ('127.0.0.1:8000', '', OK),
        ('[::1]:8000', '', OK),
        ('unix:/run/shmstream.sock', '', OK),
        ('0.0.0.0:8000', '', BITES),
        (':8000', '', BITES),
        ('[::]:8000', '', BITES),
        ('chat.example.org:8000', '', BITES),
        ('0.0.0.0:8000', 'one,two', OK),
        ('0.0.0.0:8000', 'one,two,three', NOTE),
    ],
)
def test_access(directory: Path, bind: str, keys: str, result: str) -> None:
    settings = {'API_KEYS': keys} if keys else {}
    found = look('access', case_of(directory, ServerSettings((bind,)), **settings))
    assert found.result == result, found


@pytest.mark.parametrize(
    ('lines', 'result'),
    [
        ('worker_class = "asgi"', OK),
        ('worker_class = "gthread"\nthreads = 4', OK),
        ('worker_class = "sync"', BITES),
        ('workers = 33', BITES),
        (
            'worker_class = "gthread"\nwsgi_app = "shmstream.http.app:app"',
            BITES,
        ),
        ('worker_class = "gunicorn.workers.base.Worker"', NOTE),
    ],
)
def test_workers(directory: Path, tmp_path: Path, lines: str, result: str) -> None:
    """As gunicorn reads them from its configuration file."""
    config = tmp_path / 'gunicorn.conf.py'
    config.write_text(f'wsgi_app = "app:app"\nworkers = 2\n{lines}\n')
    found = look('workers', case_of(directory, read(config, wait_s=600)))
    assert found.result == result, found


def test_the_configuration_of_the_service_is_read_as_gunicorn_reads_it() -> None:
    arguments = os.environ | {'GUNICORN_CMD_ARGS': '--workers 3 --bind 0.0.0.0:1'}
    found = read(ROOT / 'gunicorn.conf.py', arguments, 600)
    assert (found.workers, found.bind) == (3, ('0.0.0.0:1',))
    assert (found.timeout, found.graceful_timeout) == (30, 10)
    assert (found.worker_class, found.wsgi_app) == (
        *('asgi', 'shmstream.http.app:create_app()'),
    )


def test_a_configuration_that_others_may_have_written_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a program, and the doctor may be root."""
    monkeypatch.chdir(tmp_path)
    ran = tmp_path / 'ran'
    Path('gunicorn.conf.py').write_text(f'open({str(ran)!r}, "w")\n')
    for path, mode in ((Path('gunicorn.conf.py'), 0o666), (tmp_path, 0o777)):
        before = path.stat().st_mode
        path.chmod(mode)
        case = examined(tmp_path / 'streams')
        assert 'may be of others' in str(case.told)
        path.chmod(before)
    assert not ran.exists()
    examined(tmp_path / 'streams')
    assert ran.exists()


def test_a_configuration_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    config = tmp_path / 'gunicorn.conf.py'
    config.write_text('raise SystemExit("this one wants a database")')
    with pytest.raises(ServerUnknown, match='this one wants a database'):
        read(config, wait_s=600)
    config.write_text('import threading\nthreading.Event().wait()')
    with pytest.raises(ServerUnknown, match='not read within 1 s'):
        read(config, wait_s=1.0)


def test_timeouts(directory: Path) -> None:
    def found(timeout: float, graceful: float, drain: str = '300') -> Finding:
        server = ServerSettings(timeout=timeout, graceful_timeout=graceful)
        return look('timeouts', case_of(directory, server, DRAIN=drain))

    assert found(30, 30).result == BITES
    assert found(0, 30).result == NOTE
    ours = found(30, 10)
    assert (ours.result, 'at a stop answers may go on for 8 s' in ours.what) == (
        *(NOTE, True),
    )
    assert 'TimeoutStopSec=30' in ours.do
    assert 'terminationGracePeriodSeconds=20' in ours.do
    assert 'graceful_timeout=375' in ours.do
    assert 'graceful_timeout=' not in found(200, 100, '60').do


def test_packages(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look('packages', case_of(directory)).result == OK
    needs = {'gunicorn': '99.0'}
    monkeypatch.setattr('shmstream.deploy.service_needs.NEEDS', needs)
    assert look('packages', case_of(directory)).result == BITES


def test_a_check_that_hangs_or_breaks_hides_no_other(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()

    def hang(_: object) -> Finding:
        never.wait()
        return ok('it went on')

    def breaks(_: object) -> Finding:
        raise ZeroDivisionError('a kernel of another kind')

    checks = (Check('hangs', hang), Check('breaks', breaks), *examination.CHECKS[:2])
    monkeypatch.setattr(examination, 'CHECKS', checks)
    found = list(examine(case_of(directory), 2.0))
    never.set()
    assert [each.result for each in found] == [UNKNOWN, UNKNOWN, OK, OK]
    assert [each.check for each in found] == ['hangs', 'breaks', 'settings', 'packages']
    assert 'a kernel of another kind' in found[1].what


def test_a_check_that_hangs_does_not_keep_the_process(directory: Path) -> None:
    assert in_a_process(
        'import threading\n'
        'from tests.doctor.cases import *\n'
        'from shmstream.doctor import examination\n'
        'hang = examination.Check("hangs", lambda _: threading.Event().wait())\n'
        'examination.CHECKS = (hang,)\n'
        f'case = case_of(Path({str(directory)!r}))\n'
        'print(*(each.result for each in examination.examine(case, 0.1)))'
    ) == [UNKNOWN]


def test_quick_asks_nobody(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError('it is quick, and asks nobody')

    settings = Settings.from_environment(
        {'SHMSTREAM_DIR': str(directory), 'SHMSTREAM_UPSTREAM': 'http://198.51.100.1'}
    )
    for name in ('socket.socket', 'subprocess.Popen'):
        monkeypatch.setattr(name, refuse)
    server = ServerSettings(('0.0.0.0:80',), timeout=10, graceful_timeout=10)
    found = quick(settings, server, {})
    assert [each.check for each in found] == ['access', 'timeouts']
    assert {each.result for each in found} == {BITES}
    # Without gunicorn's settings, what needs them is left out.
    assert quick(settings, None, {}) == []


def test_every_check_has_a_name_of_its_own(directory: Path) -> None:
    names = [check.name for check in examination.CHECKS]
    assert len(set(names)) == len(names)
    found = run(examination.CHECKS[0], case_of(directory))
    assert found.line == 'settings: ok: the settings are valid'
