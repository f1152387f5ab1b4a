"""Twenty seconds of it, at a seed that stays: ``python -m tests.chaos`` for more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.service import ROOT

SEED = 1


def test_nothing_is_lost_doubled_torn_hung_or_leaked(tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'tests.chaos', '--seed', str(SEED)]
    command += ['--seconds', '20', '--dir', str(tmp_path)]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
