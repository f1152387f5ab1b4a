"""Importing the library imports nothing that only the service needs, or a framework.

How long it takes, and how much memory, depends on the machine: ``python -m bench
weight`` measures both.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.service import ROOT

SERVICE = {'aiohttp', 'falcon', 'gunicorn', 'gunicorn_h1c', 'multidict', 'uvloop'}
FRAMEWORKS = {'django', 'fastapi', 'flask', 'gevent', 'openai', 'starlette', 'uvicorn'}
HEAVY = {
    'concurrent.futures.process',
    'email',
    'http.client',
    'importlib.metadata',
    'multiprocessing',
    'platform',
    'random',
    'tempfile',
    'urllib.request',
}
"""Modules of Python's own that cost a millisecond or more, or bring many others."""

LIBRARY = (
    'shmstream',
    'shmstream.serving',
    'shmstream.asgi',
    'shmstream.wsgi',
)
ABOVE = ('asgi', 'answers', 'client', 'deploy', 'http', 'upstream', 'wsgi', 'serving')
"""Packages that ``import shmstream`` does without."""


def modules(code: str) -> set[str]:
    """What an interpreter has imported after this code, beyond what it begins with."""
    program = (
        'import sys\n'
        'before = set(sys.modules)\n'
        'import asyncio\n'
        'given = set(sys.modules) - before\n'
        f'{code}\n'
        'print(*set(sys.modules) - before - given)'
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split())


def roots(names: set[str]) -> set[str]:
    return {name.partition('.')[0] for name in names}


@pytest.mark.parametrize('name', LIBRARY)
def test_the_library_imports_nothing_of_the_service(name: str) -> None:
    found = modules(f'import {name}')
    assert name in found
    assert not roots(found) & (SERVICE | FRAMEWORKS)
    assert not {each for each in found if each.startswith('shmstream.http')}
    assert not {each for each in found if each.startswith('shmstream.upstream')}


def test_the_library_imports_no_module_that_is_heavy() -> None:
    assert not modules('import shmstream') & HEAVY


@pytest.mark.parametrize('package', ABOVE)
def test_the_library_does_without_what_is_built_on_it(package: str) -> None:
    name = f'shmstream.{package}'
    assert not {
        each
        for each in modules('import shmstream')
        if each == name or each.startswith(f'{name}.')
    }


def test_the_client_imports_aiohttp_only_when_it_is_used() -> None:
    found = modules('import shmstream.client')
    assert not roots(found) & (SERVICE | FRAMEWORKS)


def test_the_hooks_import_nothing_of_the_service_but_its_server() -> None:
    found = modules('import shmstream.deploy.hooks')
    assert not roots(found) & ((SERVICE - {'gunicorn'}) | FRAMEWORKS)
    assert not {each for each in found if each.startswith('shmstream.http')}


@pytest.mark.parametrize(
    ('code', 'name'),
    [
        ('import shmstream.http.app', 'falcon'),
        ('import shmstream.upstream.connections', 'aiohttp'),
        ('import platform', 'platform'),
    ],
)
def test_what_is_imported_is_found(code: str, name: str) -> None:
    assert name in modules(code)
