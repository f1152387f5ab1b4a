"""``serve`` becomes gunicorn, with the shipped configuration."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import shmstream
from shmstream.cli.serve import environment, gunicorn_script
from shmstream.deploy import service_conf
from shmstream.settings import Settings
from tests.support.client import Client
from tests.support.command import SHMSTREAM, run
from tests.support.command import environment as plain
from tests.support.leaks import LeakGuard, wait_until
from tests.support.service import ROOT


def test_it_serves_as_process_of_its_own_and_stops(
    tmp_path: Path, directory: Path, guard: LeakGuard
) -> None:
    """From an empty folder, as after ``pip install``; the flags win over variables."""
    keys, log = tmp_path / 'keys', tmp_path / 'log'
    keys.write_text('secret-1\n')
    flags = ('--bind', '127.0.0.1:0', '--workers', '1', '--dir', str(directory))
    more = ('--max-memory', '64MiB', '--api-keys-file', 'keys')
    variables = {'KEY': 'of the command line', 'MAX_MEMORY': '32MiB'}
    with log.open('wb') as out:
        process = subprocess.Popen(
            [SHMSTREAM, 'serve', *flags, *more, '--', '--no-control-socket'],
            env=plain(**variables),
            cwd=tmp_path,
            stdout=out,
            stderr=out,
        )
    try:
        up = wait_until(lambda: 'ASGI server listening' in log.read_text(), 60)
        assert up, log.read_text()
        guard.note()
        text = log.read_text()
        assert 'in 64 MiB' in text
        # It is the same process still, so that it can be process 1.
        listens = rf'Listening at: http://127.0.0.1:(\d+) \({process.pid}\)'
        found = re.search(listens, text)
        assert found, text
        client = Client(int(found[1]))
        assert client.get('/_shmstream/sessions').status == 401
        page = client.get('/_shmstream/sessions', Authorization='Bearer secret-1')
        assert page.json() == {'sessions': [], 'next': None}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_bad_value_is_one_line_and_names_the_option() -> None:
    for arguments, words in (
        (('--max-memory', 'much'), '--max-memory: must be'),
        (('--upstream', 'ftp://host'), '--upstream: '),
        (('--workers', '0'), '--workers'),
        (('app:app',), "unexpected argument 'app:app'"),
        (('--api-keys-file', '/nowhere'), '--api-keys-file: cannot be read'),
    ):
        done = run('serve', *arguments)
        assert (done.code, words in done.err) == (2, True), done
        assert 'Traceback' not in done.err
    assert 'SHMSTREAM_SESSION_TTL: must be' in run('serve', SESSION_TTL='x').err


def test_the_configuration_is_one_and_is_part_of_the_package() -> None:
    assert (ROOT / 'gunicorn.conf.py').resolve() == Path(service_conf.__file__)
    assert Path(service_conf.__file__).is_relative_to(Path(shmstream.__file__).parent)
    assert service_conf.on_starting is not None  # type: ignore[attr-defined]
    script = [sys.executable, gunicorn_script(), '--version']
    printed = subprocess.run(script, check=True, capture_output=True, timeout=60)
    assert b'gunicorn' in printed.stdout


def test_the_quick_check_speaks_before_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It looks at what the options have set, too: here a file that all may read."""
    keys = tmp_path / 'keys'
    keys.write_text('secret-1\n')
    keys.chmod(0o644)
    became: list[list[str]] = []

    def become(arguments: list[str], environ: dict[str, str]) -> None:
        assert environ['SHMSTREAM_MAX_SESSIONS'] == '7'
        became.append(arguments)

    monkeypatch.setattr('shmstream.cli.serve.become_gunicorn', become)
    options = ('--max-sessions', '7', '--api-keys-file', str(keys), '-b', 'unix:/x')
    done = run('serve', *options, '--', '--reload')
    assert (
        f'key file: will bite: every user of this machine may use the keys in {keys}'
        in done.err
    )
    assert became[0][2:] == ['--bind', 'unix:/x', '--reload']


def test_the_key_of_the_command_line_is_no_setting_of_the_service() -> None:
    assert environment({'SHMSTREAM_KEY': 'x', 'A': 'b'}, {}) == {'A': 'b'}
    with pytest.raises(shmstream.SettingsError, match='SHMSTREAM_API_KEYS'):
        Settings.from_environment({'SHMSTREAM_KEY': 'x'})
