"""The models of the protocol hold, and their mutations are found wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / 'proof' / 'check.sh'


# Minutes of a processor, of which others may take most.
@pytest.mark.matrix
@pytest.mark.timeout(2400)
@pytest.mark.skipif(
    not all(map(shutil.which, ('spin', 'gcc', 'timeout'))),
    reason='needs spin and gcc: .ci/debian installs them',
)
def test_every_search_comes_out_as_it_must() -> None:
    done = subprocess.run(
        ['sh', str(CHECK), 'quick'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
