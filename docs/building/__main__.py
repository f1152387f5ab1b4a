"""Puts the pages together, and has the site built: ``python -m docs.building``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from docs.building import sources
from docs.building.assets import foreign_assets
from docs.building.files import PAGES, ROOT, SITE, WIDE, assets, pages
from docs.building.inserts import inserted
from docs.building.links import DeadLink, moved

_GENERATORS = {
    'mkdocs': ('mkdocs', 'build', '--strict'),
    'zensical': ('zensical', 'build', '--clean', '--strict'),
}
_BUILD_S = 600


def put_together(folder: Path) -> None:
    """Write all pages and what they show into an empty folder.

    Raises:
        DeadLink, LookupError: a page asks for what is not there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    places = pages() | assets()
    shown: set[Path] = set()

    def place_of(path: Path) -> str:
        if path not in places:
            shown.add(path)
            return sources.place_of(path)
        return places[path]

    for path, place in places.items():
        there = folder / place
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.md':
            text = moved(path.read_text(), path, place, place_of)
            head = '---\nhide: [toc]\n---\n\n' if place in WIDE else ''
            there.write_text(head + inserted(text))
        else:
            shutil.copyfile(path, there)
    _write_sources(folder, shown)


def _write_sources(folder: Path, shown: set[Path]) -> None:
    """Write the pages of files that are linked to, and of all files in folders."""
    left = sorted(shown)
    while left:
        path = left.pop()
        there = folder / sources.place_of(path)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(sources.page_of(path))
        if path.is_dir():
            left += sources.inside(path)


def main(generator: str = 'mkdocs') -> int:
    """Build the site; return the exit code."""
    if generator not in _GENERATORS:
        print(f'the generator must be one of {", ".join(_GENERATORS)}', file=sys.stderr)
        return 2
    try:
        put_together(PAGES)
    except (DeadLink, LookupError) as ex:
        print(ex.args[0], file=sys.stderr)
        return 1
    command = [sys.executable, '-m', *_GENERATORS[generator]]
    # It announces at each run that mkdocs 2 will be another program.
    environment = os.environ | {'NO_MKDOCS_2_WARNING': '1'}
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=_BUILD_S)
    if done.returncode:
        return done.returncode
    if foreign := foreign_assets(SITE):
        print('the pages load from elsewhere:', *foreign, sep='\n', file=sys.stderr)
        return 1
    print(SITE / 'index.html')
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:2]))
