"""All that dead deployments have left: what ``clean`` removes, and the doctor notes."""

from __future__ import annotations

from dataclasses import dataclass

from shmstream.errors import DirectoryRefused
from shmstream.inspection.dead import Remains, in_shared_memory, remains, token_of
from shmstream.inspection.orphans import Orphans, orphans
from shmstream.memory.directory import RuntimeDirectory


@dataclass(frozen=True)
class LeftBehind:
    """What was found.

    Attributes:
        directories: what is left of dead deployments.
        refused: why some directories could not be looked at, a line for each.
        semaphores: those whose directory is gone.
    """

    directories: tuple[Remains, ...]
    refused: tuple[str, ...]
    semaphores: Orphans


def left_behind(
    named: RuntimeDirectory, *, only: bool = False, everywhere: bool = False
) -> LeftBehind:
    """Look at a directory, at this user's others in shared memory, and at semaphores.

    Args:
        named: the directory that comes first.
        only: look at no other directory, and at no semaphores.
        everywhere: as of ``orphans``.
    """
    others = [] if only else in_shared_memory()
    found: list[Remains] = []
    refused: list[str] = []
    tokens: set[int] = set()
    for place in (named, *(one for one in others if one != named)):
        # The semaphores of a directory that is refused have a directory, too.
        tokens.add(token_of(place))
        try:
            what = remains(place)
        except DirectoryRefused as ex:
            refused.append(str(ex))
            continue
        if what is not None:
            found.append(what)
    lost = Orphans() if only else orphans(tokens, everywhere)
    return LeftBehind(tuple(found), tuple(refused), lost)
