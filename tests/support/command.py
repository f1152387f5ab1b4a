"""The command ``shmstream``: in a process of its own, or for what needs none, here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from shmstream.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SHMSTREAM = str(Path(sys.executable).parent / 'shmstream')


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def environment(**settings: str) -> dict[str, str]:
    """The environment of a command: SHMSTREAM_* variables as here, and no others."""
    env = {k: v for k, v in os.environ.items() if not k.startswith('SHMSTREAM_')}
    return env | {f'SHMSTREAM_{name}': text for name, text in settings.items()}


def run(*arguments: str, answer: str = '', **settings: str) -> Ran:
    """Run a command to its end in this process, which saves most of its time.

    Its stdin is ``answer``; it has no terminal.
    """
    unset: dict[str, str | None] = dict.fromkeys(os.environ.keys() - environment())
    done = CliRunner().invoke(
        main,
        arguments,
        input=answer,
        env=unset | environment(**settings),
        prog_name='shmstream',
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


def start(*arguments: str, **settings: str) -> subprocess.Popen[bytes]:
    """Start a command, with pipes for what it writes."""
    return subprocess.Popen(
        [SHMSTREAM, *arguments],
        env=environment(**settings),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
