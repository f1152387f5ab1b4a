"""Every code block of a page is what it says that it is.

Here it is read: compiled, parsed, or compared with the options that a program has. What
a page has a reader run is run by a test of its own, which finds it by its name.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from docs.building.fences import Block, blocks_of
from shmstream.setting_parsers import PARSERS
from tests.support.commands import commands, wrong
from tests.support.node import NODE, needs_node
from tests.support.pages import PAGES, block, named

LANGUAGES = {
    *('python', 'bash', 'js', 'json', 'yaml', 'toml', 'text'),
    # Those of other programs, which the tests of deployment start.
    *('caddyfile', 'dockerfile', 'html', 'http', 'ini', 'nginx', 'promql', 'console'),
}
OTHERS = {'openai', 'fastapi', 'pydantic', 'flask'}
"""They take seconds to import; the tests that run these blocks import them."""
OF_CLIENTS = {'KEY'}
"""What the command line reads, as a client of the service."""

TOP = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def of(language: str) -> list[tuple[Path, Block]]:
    """The blocks of a language, with their pages."""
    return [
        (page, each)
        for page in PAGES
        for each in blocks_of(page.read_text())
        if each.language == language
    ]


def place(page: Path, each: Block) -> str:
    return f'{named(page)}:{each.line}'


def test_every_block_says_its_language() -> None:
    strange = [
        (place(page, each), each.language)
        for page in PAGES
        for each in blocks_of(page.read_text())
        if each.language not in LANGUAGES
    ]
    assert strange == []


def test_python_compiles_and_imports_what_is_there() -> None:
    found = of('python')
    assert len(found) > 10
    for page, each in found:
        tree = compile(each.code, place(page, each), 'exec', flags=TOP)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    assert importlib.util.find_spec(name.name), name.name
            elif isinstance(node, ast.ImportFrom) and node.module in OTHERS:
                assert importlib.util.find_spec(node.module)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    if not hasattr(module, name.name):
                        importlib.import_module(f'{module.__name__}.{name.name}')


def test_names_of_the_library_are_there() -> None:
    """``shmstream.asgi.Application`` in a block, and in a sentence."""
    missing = []
    for page in PAGES:
        # The changelog has names that are gone, and the others those of spans and logs.
        if page.name == 'CHANGELOG.md' or page.parent.name == 'operations':
            continue
        for name in sorted(set(re.findall(r'\bshmstream(?:\.\w+)+', page.read_text()))):
            parts = name.split('.')
            if parts[1] in ('js', 'd', 'conf', 'py', 'service', 'socket', 'json'):
                continue
            found = importlib.import_module('shmstream')
            for number, part in enumerate(parts[1:], 2):
                if not hasattr(found, part):
                    try:
                        importlib.import_module('.'.join(parts[:number]))
                    except ImportError:
                        missing.append((named(page), name))
                        break
                found = getattr(found, part)
    assert missing == []


def test_commands_have_their_options(tmp_path: Path) -> None:
    found = of('bash')
    assert len(found) > 15
    for page, each in found:
        checked = subprocess.run(['bash', '-n'], input=each.code.encode())
        assert checked.returncode == 0, place(page, each)
        if '<<' not in each.code:
            for command in commands(each.code):
                assert wrong(command) == '', (place(page, each), command)


@pytest.mark.parametrize(
    'line',
    [
        'gunicorn --graceful-time-out 3',
        'A=1 .venv/bin/shmstream --verbose',
        'cd x && .ci/none',
        '.venv/bin/pytest tests/none/test_a.py::test_b',
        "pip install -e '.[none]'",
        'python -m bench follow --none',
        'python -m docs.none',
        'uvicorn app:app --workers=2 --none | head',
    ],
)
def test_a_command_that_is_wrong_is_found(line: str) -> None:
    assert any(wrong(command) for command in commands(line))


def test_data_is_what_it_says() -> None:
    for _, each in of('json'):
        json.loads(each.code)
    for _, each in of('toml'):
        tomllib.loads(each.code)
    for _, each in of('yaml'):
        assert list(yaml.safe_load_all(each.code))


@needs_node
def test_scripts_are_scripts(tmp_path: Path) -> None:
    found = of('js')
    assert len(found) > 3
    for number, (page, each) in enumerate(found):
        script = tmp_path / f'{number}.mjs'
        script.write_text(each.code)
        done = subprocess.run([NODE, '--check', script], capture_output=True)
        assert done.returncode == 0, (place(page, each), done.stderr)


def test_what_a_page_says_can_be_set_can_be_set() -> None:
    named_there = {
        (named(page), name)
        for page in PAGES
        for name in re.findall(r'SHMSTREAM_([A-Z]\w*)', page.read_text())
    }
    assert len(named_there) > 50
    known = {*PARSERS, *OF_CLIENTS}
    assert {each for each in named_there if each[1] not in known} == set()


@pytest.mark.parametrize(
    ('name', 'page'),
    [('app.py', 'applications/fastapi'), ('follow', 'clients/python')],
)
def test_the_readme_shows_what_a_page_shows(name: str, page: str) -> None:
    """And a test runs it there."""
    assert block('README.md', name) == block(f'docs/{page}.md', name)
