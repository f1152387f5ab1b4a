"""The core comes without a framework and a server, and does no I/O of its own."""

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

ABOVE = {'asgi', 'wsgi', 'http', 'deploy', 'upstream'}
"""The packages that are built on the core, or know a server."""

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
    if package == 'serving':
        assert not {name for name in loaded if is_above(name)}


def imported(source: str) -> set[str]:
    """What a module imports: each module, and each name of it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert not node.level
            found.add(node.module)
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
    return found


def is_above(module: str) -> bool:
    """Whether this belongs to what is built on the core."""
    first, _, rest = module.partition('.')
    return first == 'shmstream' and rest.partition('.')[0] in ABOVE


def test_whatever_is_above_is_found_however_it_is_imported() -> None:
    for source in (
        'import shmstream.asgi',
        'from shmstream import wsgi',
        'from shmstream.http import app',
        'from shmstream.deploy.hooks import install',
        'def f():\n    from shmstream import asgi as a',
    ):
        assert any(map(is_above, imported(source))), source
    assert not any(map(is_above, imported('from shmstream.consumer import Consumer')))


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
        assert not is_above(module)
        # What the core needs of ``Streams`` is in ``serving/deployment.py``.
        assert module != 'shmstream'
        assert not module.startswith('shmstream.streams')
