"""The machine and the versions that a benchmark ran with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.report import ROOT

_VERSIONS = (
    *('shmstream', 'gunicorn', 'gunicorn_h1c', 'falcon', 'uvloop', 'posix-ipc'),
    *('aiohttp', 'redis', 'hiredis', 'matplotlib'),
)


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    cpu = re.search(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text())
    versions: dict[str, str | None] = {}
    for name in _VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    commit = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=10'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return {
        'cpu': cpu[1] if cpu else platform.processor(),
        'cores': len(os.sched_getaffinity(0)),
        'kernel': platform.release(),
        'python': platform.python_version(),
        'versions': versions,
        'commit': commit,
        'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        'load_before': os.getloadavg()[0],
        'command': ' '.join(['python -m bench', *sys.argv[1:]]),
    }
