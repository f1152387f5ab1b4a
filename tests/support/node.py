"""Scripts for Node.js, which run the clients that npm has: see ``tests/node``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.child import ROOT, Program

FOLDER = ROOT / 'tests' / 'node'
PACKAGES = FOLDER / 'node_modules'
NODE = PACKAGES / '.bin' / 'node'
"""A Node.js of npm's own: some clients want a newer one than systems have."""

needs_node = pytest.mark.skipif(
    not NODE.exists(), reason='tests/node has no packages: .ci/node installs them'
)


class Script(Program):
    """Runs a script of ``tests/node``, with ``say`` and ``hear`` as for ``Child``.

    Args:
        name: the file, whose ``talk.js`` is the script's side of the talk.
        arguments: what JSON can carry, and paths.
        env: more environment variables.
    """

    def __init__(
        self, name: str, *arguments: Any, env: dict[str, str] | None = None
    ) -> None:
        command = [str(NODE), str(FOLDER / name)]
        super().__init__([*command, json.dumps(arguments, default=str)], env)


def bundle(entry: Path, into: Path) -> Path:
    """Make one module for browsers of a script and the packages that it imports.

    Args:
        entry: the script, in ``tests/node``.
        into: the folder for the module, which gets the script's name.
    """
    subprocess.run(
        [
            NODE,
            PACKAGES / 'esbuild' / 'bin' / 'esbuild',
            entry,
            '--bundle',
            '--format=esm',
            '--log-level=error',
            '--define:process.env.NODE_ENV="production"',
            f'--outdir={into}',
        ],
        check=True,
        cwd=FOLDER,
    )
    return into / entry.with_suffix('.js').name
