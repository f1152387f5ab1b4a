"""The load client, in C: built when it is first needed, into a cache directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent


def build(source: Path) -> Path:
    """Compile one C file; returns the program. Raises ``RuntimeError`` without cc."""
    cc = os.environ.get('CC') or shutil.which('cc') or shutil.which('gcc')
    if cc is None:
        raise RuntimeError('no C compiler: the load client is built with cc')
    cache = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache'))
    tag = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    program = cache / 'shmstream-bench' / f'{source.stem}-{tag}'
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        aside = program.with_suffix(f'.{os.getpid()}')
        command = [cc, '-O2', '-o', str(aside), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'{" ".join(command)}:\n{done.stderr}')
        aside.replace(program)
    return program


def load_client() -> Path:
    """The load client, see load.c."""
    return build(SOURCES / 'load.c')
