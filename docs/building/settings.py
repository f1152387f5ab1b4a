"""What can be set, as Markdown, from ``shmstream.settings`` and its parsers."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shmstream.settings
from shmstream.setting_parsers import PARSERS, shown_size
from shmstream.settings import PREFIX, Settings

_DEFAULT = re.compile(r'\s*Default: (.*)\.$', re.DOTALL)
_MUST = re.compile(r'must be (.*), not ', re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """What is said of a setting.

    Attributes:
        names: the variables that set it.
        text: what it means, as Markdown.
        default: what it is if nobody sets it, as Markdown.
        limits: what a value must be, in the words of a refusal; may be empty.
    """

    names: tuple[str, ...]
    text: str
    default: str
    limits: str

    @property
    def anchor(self) -> str:
        """The name of its heading."""
        return self.names[0].lower()


def described() -> dict[str, Setting]:
    """Return every setting by its name without the prefix.

    Raises:
        LookupError: a setting has no text in ``shmstream.settings``.
    """
    texts = _texts_below_fields()
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    found: dict[str, Setting] = {}
    for name in PARSERS:
        field = fields.get(name.lower())
        if field is None and name.removesuffix('_FILE') in PARSERS:
            continue  # Another way to set the same.
        if field is None or field.name not in texts:
            raise LookupError(f'{PREFIX}{name} has no text in shmstream/settings.py')
        text, default = texts[field.name], _shown(name, field.default)
        if said := _DEFAULT.search(text):
            text, default = text[: said.start()], said[1]
        file = (f'{PREFIX}{name}_FILE',) if f'{name}_FILE' in PARSERS else ()
        names = (f'{PREFIX}{name}', *file)
        found[name] = Setting(names, text, default, limits_of(name))
    return found


def limits_of(name: str) -> str:
    """Return what a value must be, in the words in which a bad one is refused."""
    try:
        PARSERS[name]('\0')
    except ValueError as ex:
        said = _MUST.search(str(ex))
        return said[1] if said else ''
    return ''


def overview() -> str:
    """Return a table of all settings and their defaults."""
    rows = [
        f'| [`{setting.names[0]}`](#{setting.anchor}) | {setting.default} |'
        for setting in described().values()
    ]
    return '\n'.join(['| name | default |', '| --- | --- |', *rows])


def sections(names: list[str]) -> str:
    """Return a section for each of these settings."""
    found = described()
    return '\n\n'.join(_section(found[name]) for name in names)


def _section(setting: Setting) -> str:
    also = ''.join(f', `{name}`' for name in setting.names[1:])
    facts = [f'Default: {setting.default}']
    if setting.limits:
        facts.append(f'Must be {setting.limits}')
    label = setting.names[0].removeprefix(PREFIX)
    attributes = f'{{ #{setting.anchor} data-toc-label="{label}" }}'
    heading = f'### `{setting.names[0]}`{also} {attributes}'
    return f'{heading}\n\n{setting.text}\n\n*{".* *".join(facts)}.*'


def _texts_below_fields() -> dict[str, str]:
    """Return the text below each field; Python itself does not keep it."""
    tree = ast.parse(Path(shmstream.settings.__file__).read_text())
    (body,) = (
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    found: dict[str, str] = {}
    for node, below in itertools.pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[node.target.id] = ' '.join(str(below.value.value).split())
    return found


def _shown(name: str, default: Any) -> str:
    """Return a default as a user would write it."""
    if default is None or default == ():
        return 'none'
    if isinstance(default, int) and 'iB' in limits_of(name):
        return f'`{shown_size(default)}`'
    if isinstance(default, float):
        return f'`{default:g}`'
    return f'`{default}`'
