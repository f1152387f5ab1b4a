"""Links, from where a page stands in the project to where it is on the site."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from docs.building.fences import lines_of
from docs.building.files import ROOT

_INLINE = re.compile(r'(\]\()([^)\s]+)(\))')
_DEFINED = re.compile(r'^(\[[^\]]+\]: )(\S+)(.*)$')
_ELSEWHERE = re.compile(r'[a-z][a-z0-9+.-]*:', re.IGNORECASE)

Place = Callable[[Path], str]
"""Returns the place on the site of a file of the project; raises ``DeadLink``."""


class DeadLink(Exception):
    """A page links to what is not there; the text says which page, and to what."""


def targets_of(text: str) -> list[str]:
    """Return what a page links to, in the order in which it stands there."""
    found: list[str] = []
    for line, is_code in lines_of(text):
        if not is_code:
            found += [match[2] for match in _INLINE.finditer(_without_code(line))]
            if match := _DEFINED.match(line):
                found.append(match[2])
    return found


def moved(text: str, page: Path, place: str, place_of: Place) -> str:
    """Return a page whose links fit its place on the site.

    Args:
        text: the page.
        page: the file in which it stands in the project.
        place: where it is on the site.
        place_of: where a file of the project is on the site.

    Raises:
        DeadLink: a link leads to a file that is not there.
    """

    def link(match: re.Match[str]) -> str:
        return match[1] + _moved(match[2], page, place, place_of) + match[3]

    lines: list[str] = []
    for line, is_code in lines_of(text):
        if not is_code:
            line = _INLINE.sub(link, line)
            line = _DEFINED.sub(link, line)
        lines.append(line)
    return '\n'.join(lines) + '\n'


def file_of(target: str, page: Path) -> Path | None:
    """Return the file that a link leads to; None for an address and a heading here."""
    path, _, _ = target.partition('#')
    if not path or _ELSEWHERE.match(target):
        return None
    return Path(os.path.normpath(page.parent / path))


def _moved(target: str, page: Path, place: str, place_of: Place) -> str:
    path = file_of(target, page)
    if path is None:
        return target
    if not path.exists():
        raise DeadLink(
            f'{page.relative_to(ROOT)} links to {target}, which is not there'
        )
    here = PurePosixPath(place).parent
    there = os.path.relpath(place_of(path), here)
    _, mark, heading = target.partition('#')
    return there + mark + heading


def _without_code(line: str) -> str:
    return re.sub(r'`[^`]*`', '', line)
