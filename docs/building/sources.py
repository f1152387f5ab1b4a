"""Pages that show a file of the project, for links that lead to one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from docs.building.files import IMAGES, ROOT

FOLDER: Final = 'source'
"""Where these pages are on the site."""

_LANGUAGES = {
    '.py': 'python',
    '.js': 'js',
    '.jsx': 'js',
    '.ts': 'ts',
    '.html': 'html',
    '.json': 'json',
    '.toml': 'toml',
    '.yml': 'yaml',
    '.yaml': 'yaml',
    '.sh': 'bash',
}
_HIDDEN = ('__pycache__', 'node_modules')


def place_of(path: Path) -> str:
    """Return where the page of a file or folder is on the site."""
    name = path.relative_to(ROOT).as_posix()
    return f'{FOLDER}/{name}/index.md' if path.is_dir() else f'{FOLDER}/{name}.md'


def page_of(path: Path) -> str:
    """Return the page that shows a file, or lists the files of a folder."""
    name = path.relative_to(ROOT).as_posix()
    head = f'---\nsearch:\n  exclude: true\n---\n\n# `{name}`\n\n'
    if not path.is_dir():
        return f'{head}{fenced(path)}\n'
    here = Path(place_of(path)).parent
    links = [
        f'- [`{each.name}`]({os.path.relpath(place_of(each), here)})\n'
        for each in inside(path)
    ]
    return head + ''.join(links)


def inside(folder: Path) -> list[Path]:
    """Return the files and folders in a folder that are shown."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name not in _HIDDEN and path.suffix not in (*IMAGES, '.pyc')
    ]


def fenced(path: Path) -> str:
    """Return a file as a code block.

    Raises:
        LookupError: there is no such file.
    """
    if not path.is_file():
        raise LookupError(f'there is no file {path}')
    language = _LANGUAGES.get(path.suffix, 'text')
    code = path.read_text().rstrip('\n')
    return f'````{language}\n{code}\n````'
