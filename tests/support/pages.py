"""The pages of the documentation, and the code in them."""

from __future__ import annotations

from pathlib import Path

from docs.building.fences import blocks_of
from docs.building.files import ROOT, pages

PAGES = sorted(pages())


def named(path: Path) -> str:
    """A page's name, for the names of tests."""
    return path.relative_to(ROOT).as_posix()


def block(page: str, name: str) -> str:
    """The code below the comment with this name in a page."""
    (found,) = (
        each.code for each in blocks_of((ROOT / page).read_text()) if each.name == name
    )
    return found
