"""The docstring of a module, as Markdown."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import textwrap
from pathlib import Path

_NO_CODE = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def docstring(module: str) -> str:
    """Return a module's docstring as Markdown. The module is read, not imported.

    Args:
        module: its name, ``shmstream.ring.layout``.

    Raises:
        LookupError: there is no such module, or it has no docstring.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f'there is no module {module}')
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text()))
    if not text:
        raise LookupError(f'{module} has no docstring')
    return as_markdown(text)


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown: what stands below ``::`` becomes a code block."""
    lines = inspect.cleandoc(text).split('\n')
    out: list[str] = []
    while lines:
        line = lines.pop(0)
        if not line.rstrip().endswith('::'):
            out.append(line)
            continue
        indent = len(line) - len(line.lstrip())
        block: list[str] = []
        while lines and (not lines[0].strip() or _indent(lines[0]) > indent):
            block.append(lines.pop(0))
        if line.strip() != '::':
            out += [_announced(line), '']
        out += [*_fenced('\n'.join(block), indent), '']
    return '\n'.join(out).strip('\n')


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _announced(line: str) -> str:
    """Return a line that ends with ``::`` as it stands above a code block."""
    words = line.strip().removesuffix('::')
    if words == 'Example':
        # A word and a colon would begin a section of the docstring.
        return line.replace('Example::', '**Example**')
    return line.rstrip()[:-1]


def _fenced(block: str, indent: int) -> list[str]:
    code = textwrap.dedent(block).strip('\n')
    try:
        compile(code, '', 'exec', _NO_CODE)
    except SyntaxError:
        language = 'text'
    else:
        language = 'python'
    lines = [f'```{language}', *code.split('\n'), '```']
    return [f'{" " * indent}{line}'.rstrip() for line in lines]
