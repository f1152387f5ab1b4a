"""F16 and F17: a /dev/shm of a default container (64 MB), and one of 16 MB."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support.service import ROOT

needs_mount = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which('unshare') is None,
    reason='mounting a small file system takes root',
)


@needs_mount
def test_f16_a_file_system_of_a_few_pages_refuses_streams_and_nothing_else() -> None:
    """No SIGBUS, no worker that is started again and again: 503, and come again."""
    result = subprocess.run(
        ['unshare', '-m', sys.executable, '-m', 'tests.support.tiny_shm'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    answers, plain, same, told = json.loads(result.stdout.splitlines()[-1])
    assert answers == [[503, '2']] * 6
    assert (plain, same, told) == (200, True, True)


@needs_mount
@pytest.mark.parametrize('mebibytes', [16, 64])
def test_a_small_file_system_serves_and_says_what_it_has(mebibytes: int) -> None:
    """1. More streams than fit. 2. Somebody fills the rest. 3. It is freed again."""
    command = ['unshare', '-m', sys.executable, '-m', 'tests.support.small_shm']
    result = subprocess.run(
        [*command, str(mebibytes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert f'in {mebibytes // 2} MiB' in seen['room']
    # The oldest finished ones went for the new: nobody was refused, nobody cut.
    assert seen['states'] == ['complete'] * 20
    assert seen['whole'] == [True] * 20
    assert seen['kept'] == 200
    assert seen['slow'] == 'data: [DONE]\n\n'
    # Full to the last byte, it is the finished streams that make room.
    assert seen['crowded'] == [200, 'data: [DONE]\n\n']
    assert seen['again'] == [200, 'data: [DONE]\n\n']
