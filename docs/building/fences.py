"""Which lines of a page are code, and the code blocks of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r'^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w-]*)')


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        language: what stands behind the opening fence.
        code: the lines between the fences, without their indentation.
        line: the number of the first of these lines, from 1.
        name: what the comment in the line above says; empty if there is none.
    """

    language: str
    code: str
    line: int
    name: str


def lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line of a page, and whether it belongs to a code block."""
    closing = ''
    for line in text.splitlines():
        if closing:
            yield line, True
            if line.strip() == closing:
                closing = ''
            continue
        found = _FENCE.match(line)
        closing = found['fence'] if found else ''
        yield line, bool(found)


def blocks_of(text: str) -> list[Block]:
    """Return the code blocks of a page."""
    found: list[Block] = []
    opened: list[str] | None = None
    above = language = indent = closing = ''
    for number, line in enumerate(text.splitlines(), 1):
        if opened is None:
            match = _FENCE.match(line)
            if match:
                indent, closing = match['indent'], match['fence']
                language, opened = match['language'], []
            else:
                above = line
        elif line.strip() == closing:
            comment = re.fullmatch(r'\s*<!-- (.*) -->', above)
            code = ''.join(f'{each.removeprefix(indent)}\n' for each in opened)
            name = comment[1] if comment else ''
            found.append(Block(language, code, number - len(opened), name))
            opened, above = None, ''
        else:
            opened.append(line)
    return found
