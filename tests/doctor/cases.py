"""Cases for the doctor, made without a deployment."""

from __future__ import annotations

import os
from pathlib import Path

from shmstream.doctor import Case, Finding, Result, ServerSettings
from shmstream.doctor.examination import CHECKS, run
from shmstream.errors import SettingsError
from shmstream.memory.directory import RuntimeDirectory
from shmstream.settings import Settings

OK, NOTE, BITES, UNKNOWN = Result


def case_of(
    directory: Path,
    server: ServerSettings | str = 'not known',
    **settings: str,
) -> Case:
    """A deployment that is about to start with these settings."""
    environ = {f'SHMSTREAM_{name}': text for name, text in settings.items()}
    environ['SHMSTREAM_DIR'] = str(directory)
    found: Settings | str
    try:
        found = Settings.from_environment(environ)
    except SettingsError as ex:
        found = str(ex)
    place = RuntimeDirectory(directory)
    return Case(environ, place, os.geteuid(), None, found, server)


def look(name: str, case: Case) -> Finding:
    """What one check finds."""
    return run(next(check for check in CHECKS if check.name == name), case)
