"""What the finished pages would load from elsewhere: there must be nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_LOADED = {
    'audio': 'src',
    'embed': 'src',
    'iframe': 'src',
    'img': 'src',
    'link': 'href',
    'object': 'data',
    'script': 'src',
    'source': 'src',
    'video': 'src',
}
_FOREIGN = re.compile(r'(?:https?:)?//', re.IGNORECASE)
_IN_CSS = re.compile(r'(?:@import\s+|url\(\s*)["\']?((?:https?:)?//[^"\')\s]+)')
_NOT_LOADED = {'canonical', 'next', 'prev', 'alternate', 'edit'}


def foreign_assets(site: Path) -> list[str]:
    """Return each address elsewhere that a browser would load, after its file.

    Args:
        site: the folder of the finished site.
    """
    found: list[str] = []
    for path in sorted(site.rglob('*')):
        if path.suffix == '.html':
            looked = _Loaded()
            looked.feed(path.read_text())
            addresses = looked.foreign
        elif path.suffix == '.css':
            addresses = _IN_CSS.findall(path.read_text())
        else:
            continue
        found += [f'{path.relative_to(site)}: {address}' for address in addresses]
    return found


class _Loaded(HTMLParser):
    """Collects what a page loads from another origin."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == 'link' and values.get('rel') in _NOT_LOADED:
            return
        address = values.get(_LOADED.get(tag, ''))
        if address and _FOREIGN.match(address):
            self.foreign.append(address)
