"""Where no test may be skipped, one that is fails; elsewhere it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import ROOT
from tests.support.skips import NO_SKIPS_BUT

_TESTS = """
import pytest

@pytest.mark.skipif(True, reason='there is no strace')
def test_marked():
    pass

def test_in_the_middle():
    pytest.skip('there is no strace')

@pytest.fixture
def strace():
    pytest.skip('there is no strace')

def test_by_its_fixture(strace):
    pass

@pytest.mark.xfail
def test_that_fails_and_may():
    assert False
"""
_MODULE = "import pytest\npytest.skip('no strace', allow_module_level=True)\n"


def run(folder: Path, but: str | None, module: str = _TESTS) -> tuple[int, str]:
    """Run the module; the exit code, and what was printed."""
    (folder / 'test_some.py').write_text(module)
    env = {k: v for k, v in os.environ.items() if k != NO_SKIPS_BUT}
    if but is not None:
        env[NO_SKIPS_BUT] = but
    command = [sys.executable, '-m', 'pytest', '-p', 'tests.support.skips']
    command += ['-p', 'no:cacheprovider', '--rootdir', str(folder)]
    command += ['-c', os.devnull, str(folder)]
    env['PYTHONPATH'] = str(ROOT)
    # Loading the plugins of all other tests would take most of the time.
    env['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    return ran.returncode, ran.stdout


def test_a_skip_is_told_and_names_the_script(tmp_path: Path) -> None:
    code, text = run(tmp_path, None)
    assert code == 0, text
    assert '3 skipped (-rs says why): .ci/debian and .ci/node install' in text


@pytest.mark.parametrize('but', ['', 'no compiler'])
def test_where_none_may_be_skipped_each_skip_fails(tmp_path: Path, but: str) -> None:
    code, text = run(tmp_path, but)
    assert code == 1, text
    assert 'there is no strace; here no test may be skipped, see .ci/run' in text
    assert '3 skipped' not in text
    assert '1 xfailed' in text
    code, text = run(tmp_path, but, _MODULE)
    assert code != 0, text


def test_what_another_run_does_not_skip_may_be_skipped(tmp_path: Path) -> None:
    code, text = run(tmp_path, 'no strace|no compiler')
    assert code == 0, text
    assert '3 skipped' in text
