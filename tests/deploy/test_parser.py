"""Which HTTP parser serves: the one in C where it is there, and the start says so."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.config import Config

from shmstream.deploy.parser import parser_in_use
from shmstream.errors import SettingsError
from tests.http.test_settings import place, refused
from tests.support.client import path
from tests.support.service import Service

__all__ = ('place',)

INSTALLED = find_spec('gunicorn_h1c') is not None
AGREE = [
    *itertools.product(
        ('auto', 'fast', 'python'),
        ({}, {'permit_obsolete_folding': True}, {'proxy_protocol': 'auto'}),
        (True, False),
    )
]


@pytest.fixture
def absent(tmp_path: Path) -> dict[str, str]:
    """An environment in which the parser in C cannot be imported."""
    folder = tmp_path / 'absent'
    folder.mkdir()
    (folder / 'gunicorn_h1c.py').write_text("raise ImportError('not installed')\n")
    return {'PYTHONPATH': str(folder)}


def taken_by_gunicorn(cfg: Any) -> str:
    """The parser that gunicorn itself makes for a connection, or its error."""
    protocol = ASGIProtocol.__new__(ASGIProtocol)
    protocol.cfg = cfg
    protocol.transport = SimpleNamespace(get_extra_info=lambda _: ('127.0.0.1', 1))
    try:
        protocol._setup_callback_parser()
    except RuntimeError:
        return 'error'
    return type(protocol._callback_parser).__name__


@pytest.mark.parametrize(('setting', 'more', 'there'), AGREE)
def test_what_is_said_is_what_gunicorn_takes(
    monkeypatch: pytest.MonkeyPatch, setting: str, more: dict[str, Any], there: bool
) -> None:
    if there and not INSTALLED:
        pytest.skip('gunicorn_h1c is not installed: pip install .[fast]')
    if not there:
        monkeypatch.setitem(sys.modules, 'gunicorn_h1c', None)
    # It remembers what it has found.
    monkeypatch.setattr(ASGIProtocol, '_h1c_available', None)
    cfg = Config()
    for name, value in {'worker_class': 'asgi', 'http_parser': setting, **more}.items():
        cfg.set(name, value)
    try:
        said = str(parser_in_use(cfg))
    except SettingsError:
        said = 'error'
    names = {'HTTP parser in C': 'H1CProtocol', 'error': 'error'}
    assert names.get(said, 'PythonProtocol') == taken_by_gunicorn(cfg)


def test_what_other_workers_parse_with_is_not_said() -> None:
    cfg = Config()
    cfg.set('worker_class', 'uvicorn_worker.UvicornWorker')
    assert parser_in_use(cfg) is None


def serves(service: Service) -> None:
    client = service.client()
    with client.post('parsed', {'max_tokens': 3}) as post:
        whole = post.rest()
    assert whole.endswith(b'data: [DONE]\n\n')
    assert client.get(path('parsed')).body == whole
    assert client.delete(path('parsed')).status == 204


def test_f62_without_what_needs_a_compiler_it_serves_and_says_so(
    serve: Callable[..., Service], absent: dict[str, str]
) -> None:
    service = serve(workers=2, environment=absent)
    serves(service)
    said = 'HTTP parser in Python (shmstream[fast] installs the one in C)'
    assert service.text().count(said) == 1


@pytest.mark.skipif(not INSTALLED, reason='not installed: pip install .[fast]')
def test_the_parser_in_c_is_used_where_it_is_installed(
    serve: Callable[..., Service],
) -> None:
    service = serve(workers=2)
    serves(service)
    assert service.text().count('HTTP parser in C\n') == 1


def test_asking_for_the_parser_in_c_where_it_is_not_is_one_line(
    tmp_path: Path, place: Path, absent: dict[str, str]
) -> None:
    """gunicorn would come up, and answer no request."""
    config = tmp_path / 'gunicorn.conf.py'
    here = Path(__file__).parents[2] / 'gunicorn.conf.py'
    config.write_text(f"exec({here.read_text()!r})\nhttp_parser = 'fast'\n")
    service = Service(
        tmp_path / 'log', config=config, directory=place, environment=absent
    )
    refused(service, "http_parser = 'fast'", 'shmstream[fast]')
