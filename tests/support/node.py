"""Scripts for Node.js, which run the clients that npm has: see ``tests/node``."""

from __future__ import annotations

import json
import os
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
        entry: the script; with JSX if its name ends so.
        into: the folder for the module, which gets the script's name.
    """
    subprocess.run(
        [
            # A program of the system's own: npm puts it into the place of a script.
            PACKAGES / 'esbuild' / 'bin' / 'esbuild',
            entry,
            '--bundle',
            '--format=esm',
            '--log-level=error',
            '--jsx=automatic',
            '--define:process.env.NODE_ENV="production"',
            f'--outdir={into}',
        ],
        check=True,
        cwd=FOLDER,
        # Scripts of other folders import the same packages.
        env=os.environ | {'NODE_PATH': str(PACKAGES)},
    )
    return into / entry.with_suffix('.js').name
