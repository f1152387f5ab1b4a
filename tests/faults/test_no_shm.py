"""F99: a ``/dev/shm`` that is absent or read-only, with the directory elsewhere."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shmstream.errors import DirectoryRefused
from shmstream.memory.directory import RuntimeDirectory
from shmstream.supervisor import bells_check
from tests.support.service import ROOT

needs_mount = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which('unshare') is None,
    reason='mounting takes root',
)


@needs_mount
@pytest.mark.parametrize(
    ('how', 'why'),
    [('read-only', 'cannot be written to'), ('absent', 'is not there')],
)
def test_f99_it_works_by_pipes_or_says_in_one_line_why_not(how: str, why: str) -> None:
    result = subprocess.run(
        ['unshare', '-m', sys.executable, '-m', 'tests.support.no_shm', how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert (seen['same'], seen['done'], seen['deleted']) == (True, True, 204)
    assert f'/dev/shm {why}: processes are rung by pipes' in seen['log']
    assert '[ERROR]' not in seen['log']
    code, said = seen['refused']
    (line,) = (x for x in said.splitlines() if '[INFO]' not in x)
    assert code == 1
    assert 'SHMSTREAM_DIR' in line


def test_f99_without_pipes_either_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pipes(error: int) -> None:
        def mkfifo(*_: object) -> None:
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr('os.mkfifo', mkfifo)

    monkeypatch.setattr(bells_check, '_SEMAPHORES', str(tmp_path / 'none'))
    directory = RuntimeDirectory(tmp_path)
    bells_check.check_bells(directory)
    assert list(tmp_path.iterdir()) == []
    no_pipes(errno.EPERM)
    with pytest.raises(DirectoryRefused, match='SHMSTREAM_DIR') as caught:
        bells_check.check_bells(directory)
    assert '\n' not in str(caught.value)
    no_pipes(errno.ENOSPC)
    bells_check.check_bells(directory)
