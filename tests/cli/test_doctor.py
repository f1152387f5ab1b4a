"""How the doctor shows what it has found: colours on a terminal, and exit codes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from shmstream.cli.serve import quick_check
from shmstream.settings import Settings
from tests.support.service import ROOT


def shown(directory: Path, terminal: bool, **environ: str) -> tuple[int, str]:
    """Run the command, on a terminal or not."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, '-m', 'shmstream', 'doctor', '--dir', str(directory)]
    env = {k: v for k, v in os.environ.items() if k != 'NO_COLOR'} | environ
    process = subprocess.Popen(
        command,
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env=env,
        cwd=ROOT,
    )
    os.close(theirs)
    text = b''
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # how a terminal ends
            break
        if not data:
            break
        text += data
    os.close(ours)
    return process.wait(60), text.decode()


@pytest.mark.parametrize(
    ('terminal', 'environ', 'coloured'),
    [(True, {}, True), (True, {'NO_COLOR': '1'}, False), (False, {}, False)],
)
def test_colours_are_for_terminals(
    directory: Path, terminal: bool, environ: dict[str, str], coloured: bool
) -> None:
    code, text = shown(directory, terminal, **environ)
    assert code == 0, text
    assert 'nothing will bite' in text
    assert ('\x1b[' in text) == coloured


def test_what_bites_is_an_exit_code(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    code, text = shown(tmp_path, False, SHMSTREAM_DRAIN='soon')
    assert code == 1
    assert f'{tmp_path} is open to other users' in text
    assert 'SHMSTREAM_DRAIN' in text
    assert '2 will bite' in text


def test_serve_tells_what_will_bite(directory: Path) -> None:
    """Two rings are all that there is room for."""
    settings = {'SESSION_BYTES': '1GiB', 'MAX_MEMORY': '2GiB', 'DIR': str(directory)}
    environ = {f'SHMSTREAM_{name}': text for name, text in settings.items()}
    (line,) = quick_check(Settings.from_environment(environ), environ)
    assert line.startswith('room: will bite: ')
    environ['SHMSTREAM_SESSION_BYTES'] = '64KiB'
    environ['SHMSTREAM_MAX_MEMORY'] = '16MiB'
    assert quick_check(Settings.from_environment(environ), environ) == []
