"""Which files of the project are pages of the site, and what stands where."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / 'docs'
PAGES: Final = ROOT / 'build' / 'site' / 'pages'
SITE: Final = ROOT / 'build' / 'site' / 'html'

ELSEWHERE: Final = {
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'README.md': 'readme.md',
    'SECURITY.md': 'security.md',
    'bench/README.md': 'bench.md',
    'examples/assistant_ui/README.md': 'assistant-ui.md',
    'proof/README.md': 'proof.md',
    'tests/faults/README.md': 'faults.md',
}
"""Pages that stand outside of ``docs/``, and their places on the site."""

WIDE: Final = (
    *('clients.md', 'comparison.md', 'faults.md', 'guarantees.md', 'how-it-works.md'),
    'benchmarks.md',
)
"""Pages of wide tables, which have the place of the table of contents, too."""

IMAGES: Final = ('.png', '.gif', '.svg')


def pages() -> dict[Path, str]:
    """Return each page's file, and its place on the site."""
    found = {ROOT / name: place for name, place in ELSEWHERE.items()}
    for path in sorted(DOCS.rglob('*.md')):
        found[path] = path.relative_to(DOCS).as_posix()
    return found


def assets() -> dict[Path, str]:
    """Return each file of ``docs/`` that the pages show, and its place on the site."""
    return {
        path: path.relative_to(DOCS).as_posix()
        for path in sorted(DOCS.rglob('*'))
        if path.suffix in (*IMAGES, '.css')
    }
