"""Watches the event loops of an application's workers, if its test asks for that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support import loop_guard

Places = Mapping[str, list[tuple[str, str]]]
"""Names of calls, and the files and functions that may make them on a loop."""

_SCRIPTED = 'tests/producing/scripted.py'
_OURS: Places = {
    # Gates are files.
    'os.stat': [(_SCRIPTED, 'is_open')],
    # A loop that ends joins the thread that ends its executor.
    'threading.Thread.join': [('asyncio/base_events.py', 'shutdown_default_executor')],
    **{
        name: [(_SCRIPTED, 'note_closed')]
        for name in (
            'builtins.open',
            'os.open',
            'io.TextIOWrapper.write',
            'io.BufferedWriter.write',
        )
    },
}


FASTAPI: Places = {
    # It looks once where the source of an endpoint is.
    'os.stat': [('fastapi/routing.py', '_extract_endpoint_context')],
}


def asks(blocked: Path) -> dict[str, str]:
    """The environment of a server whose loops are watched.

    Args:
        blocked: the file in which calls that block are noted; ``nothing_in`` it.
    """
    return {'ANSWERS_BLOCKED': str(blocked)}


def nothing_in(blocked: Path) -> bool:
    """Whether nothing has blocked a loop; raises if what blocked was found."""
    found = blocked.read_text()
    assert found == '', found
    return True


def watch(framework: Places) -> None:
    """Watch this process from now on, if its test asks for it.

    Args:
        framework: what the framework does, for which the library is not to blame.
    """
    blocked = os.environ.get('ANSWERS_BLOCKED')
    if blocked:
        own = {
            name: [*_OURS.get(name, ()), *framework.get(name, ())]
            for name in {*_OURS, *framework}
        }
        loop_guard.activate(Path(blocked), own)
