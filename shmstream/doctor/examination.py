"""All checks, in the order in which they are shown, each bounded in time."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from shmstream.doctor import (
    clocks,
    limits,
    memory,
    place,
    upstream,
    versions,
    workers,
)
from shmstream.doctor.case import Case, future_user
from shmstream.doctor.finding import Finding, Result, bites, ok, unknown
from shmstream.doctor.server import ServerSettings
from shmstream.errors import ShmstreamError
from shmstream.memory.directory import RuntimeDirectory
from shmstream.settings import Settings

CHECK_S = 6.0
"""Seconds that a check may take. A look-up of a name or of a dead network file system
cannot be stopped, and is left behind when they are over."""


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: what it looks at.
        look: looks; whatever it raises means that it could not look.
        quick: whether it takes milliseconds, and no network.
    """

    name: str
    look: Callable[[Case], Finding]
    quick: bool = True


def settings(case: Case) -> Finding:
    """Look whether the settings are valid."""
    if isinstance(case.found, str):
        return bites(case.found, 'gunicorn will not start until this is mended')
    return ok('the settings are valid')


CHECKS = (
    Check('settings', settings),
    Check('packages', workers.packages),
    Check('directory', place.directory),
    Check('file system', memory.file_system),
    Check('room', memory.room),
    Check('memory limit', memory.group),
    Check('descriptors', limits.descriptors),
    Check('mappings', limits.mappings),
    Check('RemoveIPC', place.remove_ipc),
    Check('key file', place.key_file),
    Check('access', workers.access),
    Check('workers', workers.workers),
    Check('timeouts', workers.timeouts),
    Check('versions', versions.versions, quick=False),
    Check('clocks', clocks.clocks, quick=False),
    Check('leftovers', place.leftovers, quick=False),
    Check('upstream', upstream.upstream, quick=False),
)
"""A check of something new is a function here, and nothing else."""


def examine(case: Case, wait_s: float = CHECK_S) -> Iterator[Finding]:
    """Run all checks at once, and yield what they find, in their order.

    Blocks until the slowest has ended, ``wait_s`` at the most.

    Args:
        case: what is examined.
        wait_s: seconds that a check may take.

    Example::

        for finding in examine(examined()):
            print(finding.line)
    """
    answers: list[queue.SimpleQueue[Finding]] = []
    deadline = time.monotonic() + wait_s
    for check in CHECKS:
        answer: queue.SimpleQueue[Finding] = queue.SimpleQueue()
        answers.append(answer)
        # A daemon, because the process must be able to end while one hangs.
        threading.Thread(
            target=lambda check=check, answer=answer: answer.put(run(check, case)),
            name=f'shmstream-doctor-{check.name}',
            daemon=True,
        ).start()
    for check, answer in zip(CHECKS, answers, strict=True):
        try:
            yield answer.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            late = unknown(f'it has no answer after {wait_s:g} s')
            yield replace(late, check=check.name)


def run(check: Check, case: Case) -> Finding:
    """Run one check; never raises."""
    try:
        found = check.look(case)
    except ShmstreamError as ex:
        found = unknown(str(ex))
    except Exception as ex:
        # Nothing of a machine that a check has not foreseen may hide the other checks.
        found = unknown(f'{type(ex).__name__}: {ex}')
    return replace(found, check=check.name)


def quick(
    settings: Settings,
    server: ServerSettings | None = None,
    environ: Mapping[str, str] = os.environ,
) -> list[Finding]:
    """Return what will bite a deployment that is about to start.

    For whoever starts one. Takes milliseconds, and asks no network and no other
    process.

    Args:
        settings: its settings.
        server: gunicorn's settings; None: they are not known, and not looked at.
        environ: its environment.

    Example::

        for finding in quick(Settings.from_environment()):
            print(finding.line, file=sys.stderr)
    """
    directory = RuntimeDirectory(settings.dir)
    case = Case(
        environ,
        directory,
        future_user(directory),
        None,
        settings,
        'not known' if server is None else server,
    )
    found = (run(check, case) for check in CHECKS if check.quick)
    return [each for each in found if each.result is Result.BITES]
