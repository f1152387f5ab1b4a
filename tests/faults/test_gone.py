"""F42: what is evicted, replaced or collected counts for as long as it is mapped."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from shmstream.memory.extents import MAX_EXTENT
from tests.faults.test_small_shm import needs_mount
from tests.support.own_tmpfs import LIMIT, ROUNDS
from tests.support.service import ROOT


@needs_mount
@pytest.mark.parametrize('how', ['delete', 'replace', 'expire'])
def test_f42_what_is_mapped_counts_until_it_is_not(how: str) -> None:
    """A new stream is refused until the reader has gone; the file system is asked."""
    result = subprocess.run(
        ['unshare', '-m', sys.executable, '-m', 'tests.support.own_tmpfs', how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen['refused'] == 1
    assert 1 < seen['made'] < ROUNDS
    # A process may go beyond its share by one extent (``memory.room``).
    assert seen['most'] <= LIMIT + MAX_EXTENT
    assert seen['served']
    assert seen['left']
