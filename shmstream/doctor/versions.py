"""The versions of what runs, of what is in the directory, and of this program."""

from __future__ import annotations

import os

from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, note, ok, unknown
from shmstream.inspection.asking import answers
from shmstream.memory.worker_table import FORMAT, read_head
from shmstream.version import __version__


def versions(case: Case) -> Finding:
    """Compare the versions of what runs, and of its files, with this program's."""
    if case.running is not None:
        status = case.running.status
        version, form = status.get('version', 'an older version'), status.get('format')
        if form != FORMAT:
            return bites(
                f'version {version} runs and keeps streams in format {form}, this is'
                f' {__version__} with {FORMAT}',
                'an upgrade in place (USR2) will be refused: stop it, and start anew',
            )
        if version != __version__:
            return note(
                f'version {version} runs, and {__version__} is installed',
                'restart it, or upgrade in place (USR2), to run the new version',
            )
        return ok(f'version {version} runs, and is installed')
    if answers(case.directory):
        return bites(
            f'a supervisor is in {case.directory.path}, and does not answer: what runs'
            ' was not examined',
            'look whether it is stopped (ps), or of another version, and in its log',
        )
    try:
        fd = os.open(case.directory.table, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ok(f'nothing runs; {__version__} is installed')
    except OSError as ex:
        return unknown(f'{case.directory.table} cannot be opened: {ex.strerror}')
    try:
        head = read_head(fd)
    finally:
        os.close(fd)
    if not head.is_table and not head.blank:
        return bites(
            f'{case.directory.table} is no file of shmstream',
            'set SHMSTREAM_DIR to another directory',
        )
    return ok(f'nothing runs; {__version__} is installed, and begins anew')
