"""Writing costs no system call while nobody sleeps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from shmstream import Streams
from tests.support.child import Child
from tests.wakeups.actors import write_between_marks


@pytest.fixture
def strace() -> str:
    """The command, if it is there and allowed."""
    found = shutil.which('strace')
    if found is None:
        pytest.skip('there is no strace: .ci/debian installs it')
    done = subprocess.run([found, '-o', '/dev/null', 'true'], capture_output=True)
    if done.returncode:
        pytest.skip(f'strace may not trace here: {done.stderr.decode()}')
    return found


def test_ten_thousand_writes_make_no_system_calls_while_nobody_sleeps(
    directory: Path, streams: Streams, strace: str, tmp_path: Path
) -> None:
    trace = tmp_path / 'trace'
    prefix = (strace, '-f', '-qq', '-o', str(trace))
    with Child(write_between_marks, directory, 10_000, prefix=prefix):
        pass
    lines = trace.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if 'mark-begin' in line)
    end = next(i for i, line in enumerate(lines) if 'mark-end' in line)
    between = lines[begin + 1 : end]
    print(*between, sep='\n')
    # The rest of the call that is the mark may be on a line of its own.
    assert [line for line in between if 'resumed' not in line] == []
    assert streams.open('c').total_bytes == 10_655 * 200
