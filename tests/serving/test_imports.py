"""The core comes without a framework, a server or a socket."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support.service import ROOT

FRAMEWORKS = {
    'aiohttp',
    'django',
    'falcon',
    'fastapi',
    'flask',
    'gevent',
    'granian',
    'gunicorn',
    'hypercorn',
    'starlette',
    'uvicorn',
    'uvloop',
}

CORE = ROOT / 'shmstream' / 'serving'


@pytest.mark.parametrize('package', ['serving', 'asgi', 'wsgi'])
def test_no_framework_comes_with_it(package: str) -> None:
    folder = ROOT / 'shmstream' / package
    names = [f'shmstream.{package}.{file.stem}' for file in folder.glob('*.py')]
    assert len(names) > 2
    code = (
        f'import importlib, sys\n'
        f'for name in {names!r}: importlib.import_module(name)\n'
        f'print(*sys.modules)'
    )
    loaded = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(names) <= set(loaded)
    assert not {name.partition('.')[0] for name in loaded} & FRAMEWORKS


def imported(source: str) -> set[str]:
    """The first parts of what a module imports, and what it has of our own whole."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            found.add(node.module)
    return found


@pytest.mark.parametrize('name', sorted(file.name for file in CORE.glob('*.py')))
def test_its_modules_know_neither_sockets_nor_loops_nor_their_writers(
    name: str,
) -> None:
    for module in imported((CORE / name).read_text()):
        assert module.partition('.')[0] not in {
            *FRAMEWORKS,
            'asyncio',
            'select',
            'selectors',
            'socket',
            'threading',
        }
        for above in ('asgi', 'wsgi', 'http', 'deploy'):
            assert not module.startswith(f'shmstream.{above}')
