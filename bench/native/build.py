"""Compile a program of this folder, unless that has been done."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
COMPILERS = {'.c': ('cc', ()), '.cpp': ('c++', ('-std=c++17', '-pthread'))}


class Missing(Exception):
    """Something that a peer needs is not installed: it is skipped."""


def cache() -> Path:
    """The folder of compiled programs."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'shmstream-bench'


def build(name: str) -> Path:
    """Return the program made of the source file with this name.

    It is compiled once for each version of its source.

    Raises:
        Missing: there is no compiler.
    """
    source = HERE / name
    compiler, flags = COMPILERS[source.suffix]
    if shutil.which(compiler) is None:
        raise Missing(f'{name}: no compiler ({compiler})')
    code = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    program = cache() / f'{source.stem}-{code}'
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        # Compiled aside and then renamed: an interrupted build leaves no half program.
        aside = program.with_name(f'{program.name}.{os.getpid()}')
        subprocess.run([compiler, '-O2', *flags, '-o', aside, source], check=True)
        aside.rename(program)
    return program
