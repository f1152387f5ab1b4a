"""F42: what is evicted, replaced or collected counts for as long as it is mapped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shmstream.memory.reservation import MAX_EXTENT
from tests.faults.test_small_shm import needs_mount
from tests.support import unread_posts
from tests.support.own_tmpfs import LIMIT, ROUNDS, SIZE
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
    # The one writer's extent, if it is taken while the supervisor measures.
    assert seen['most'] <= LIMIT + SIZE // 2
    assert seen['served']
    assert seen['left']


@needs_mount
def test_f42_clients_that_post_and_delete_and_read_nothing_stay_within_the_limit(
    tmp_path: Path,
) -> None:
    """Over HTTP; what the file system has allocated, with a name or without."""
    log = str(tmp_path / 'log')
    result = subprocess.run(
        ['unshare', '-m', sys.executable, '-m', 'tests.support.unread_posts', log],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    # Those that find no room are refused, or end early.
    assert seen['made'] + seen['refused'] == unread_posts.ROUNDS
    # What they hold is more than all that has a name: that is the point.
    assert seen['unnamed'] > unread_posts.LIMIT // 2
    # On a loop each worker may go into what the other leaves by an extent, and have
    # one under way while it is measured.
    assert seen['most'] <= unread_posts.LIMIT + 2 * unread_posts.WORKERS * MAX_EXTENT
    assert seen['served']
