"""What the service needs and has not: one line at its start, and exit code 1."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from shmstream.deploy.service_needs import NEEDS, is_service, needed, unmet
from shmstream.http.app import create_app
from shmstream.settings import Settings
from tests.support.service import ROOT, Service, fresh_directory

OLD = '23.0.0'

SHARED = {'aiohttp', 'falcon', 'gunicorn', 'shmstream', 'uvloop'}
"""What a worker needs, and takes long to import."""


def installed(versions: dict[str, str]) -> Callable[[str], str]:
    """A look-up of versions, which knows no other packages."""

    def version(name: str) -> str:
        try:
            return versions[name]
        except KeyError:
            raise metadata.PackageNotFoundError(name) from None

    return version


def test_nothing_is_lacking_here() -> None:
    assert unmet(NEEDS) is None


@pytest.mark.parametrize('version', ['27.0.1', '27.0.10', '27.1.0', '28.0.0', '100.0'])
def test_a_version_that_is_high_enough(version: str) -> None:
    assert unmet(('gunicorn',), installed({'gunicorn': version})) is None


@pytest.mark.parametrize('version', ['27.0.0', '26.2.0', '9.9.9', '27'])
def test_a_version_that_is_too_low(version: str) -> None:
    line = unmet(('gunicorn',), installed({'gunicorn': version}))
    assert line is not None
    assert f'gunicorn>={NEEDS["gunicorn"]}' in line
    assert f'gunicorn {version} is installed' in line


def test_a_package_that_is_not_there() -> None:
    line = unmet(('gunicorn',), installed({}))
    assert line is not None
    assert 'no gunicorn is installed' in line


def test_aiohttp_is_needed_for_an_upstream() -> None:
    assert needed({}) == needed({'SHMSTREAM_UPSTREAM': ' '}) == ('gunicorn',)
    upstream = {'SHMSTREAM_UPSTREAM': 'http://127.0.0.1:8080'}
    assert set(needed(upstream)) == set(NEEDS)


def test_another_server_is_told_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'aiohttp-3.10.0.dist-info'
    folder.mkdir()
    text = 'Metadata-Version: 2.1\nName: aiohttp\nVersion: 3.10.0\n'
    (folder / 'METADATA').write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings(dir=tmp_path, upstream='http://127.0.0.1:8080')
    with pytest.raises(SystemExit, match=r'aiohttp>=3\.14\.0, and aiohttp 3\.10\.0'):
        create_app(settings)
    # The demo model does not use it.
    create_app(Settings(dir=tmp_path))


WORKER = """
import importlib, sys
from pathlib import Path
from shmstream.deploy import hooks
from shmstream.deploy.service_needs import used_modules

environ = {'SHMSTREAM_UPSTREAM': sys.argv[1]}
for module in used_modules(environ):
    importlib.import_module(module)
before = set(sys.modules)
from shmstream.http.app import create_app
from shmstream.settings import Settings

create_app(Settings(dir=Path(sys.argv[2]), upstream=sys.argv[1] or None))
print(*(set(sys.modules) - before))
"""


@pytest.mark.parametrize('upstream', ['', 'http://127.0.0.1:8080'])
def test_a_worker_imports_nothing_that_its_master_has_not(
    tmp_path: Path, upstream: str
) -> None:
    done = subprocess.run(
        [sys.executable, '-c', WORKER, upstream, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    late = {name for name in done.stdout.split() if name.partition('.')[0] in SHARED}
    assert late == set()


def test_only_the_service_is_the_service() -> None:
    assert is_service('shmstream.http.app:create_app()')
    assert not is_service('own.app:app')
    assert not is_service('shmstream.http.application:app')
    assert not is_service(None)


@pytest.fixture
def old(tmp_path: Path) -> dict[str, str]:
    """An environment in which gunicorn says that it is an old version."""
    folder = tmp_path / f'gunicorn-{OLD}.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: gunicorn\nVersion: {OLD}\n'
    )
    return {
        **os.environ,
        'PYTHONPATH': str(tmp_path),
        'SHMSTREAM_DIR': str(fresh_directory()),
    }


@pytest.mark.parametrize(
    'arguments',
    [
        ('-c', 'gunicorn.conf.py'),
        ('-c', 'examples/gunicorn.conf.py', 'shmstream.http.app:create_app()'),
    ],
    ids=['its configuration', 'a configuration of your own'],
)
def test_the_service_says_it_in_one_line(
    old: dict[str, str], arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, str(Path(sys.executable).parent / 'gunicorn')]
    done = subprocess.run(
        [*command, *arguments, '--bind', '127.0.0.1:0'],
        env=old,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if '[INFO]' not in line]
    assert len(said) == 1, done.stderr
    assert said[0].startswith('shmstream: the service needs gunicorn>=')
    assert f'gunicorn {OLD} is installed' in said[0]
    assert not Path(old['SHMSTREAM_DIR']).exists()


def test_an_application_of_your_own_does_not_need_it(
    old: dict[str, str], serve: Callable[..., Service]
) -> None:
    service = serve(
        workers=1,
        config=ROOT / 'examples' / 'gunicorn.conf.py',
        arguments=('examples.falcon_app:app',),
        environment={'PYTHONPATH': old['PYTHONPATH']},
    )
    assert service.client().get('/chats/unknown').status == 404
