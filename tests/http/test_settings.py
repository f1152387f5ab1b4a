"""Settings are checked at start: one clear line, and exit code 1."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.leaks import LeakGuard
from tests.support.service import START_S, Service, fresh_directory

BAD = [
    ('UPSTREAM', 'localhost:8080'),
    ('UPSTREAM', 'ftp://localhost'),
    ('UPSTREAM', 'http://'),
    ('UPSTREAM', 'http://host:port'),
    ('UPSTREAM', 'http://host:99999'),
    ('UPSTREAM', 'http://[::1'),
    ('UPSTREAM', 'http://host/#part'),
    ('UPSTREAM', 'unix:relative.sock'),
    ('UPSTREAM', 'htp://host/?key=secret'),
    ('UPSTREAM_KEY_HEADER', 'X-Key'),
    ('UPSTREAM', 'http://user:secret@host'),
    ('UPSTREAM_API_KEY', 'two words'),
    ('UPSTREAM_API_KEY', 'line\nX-Header: 1'),
    ('UPSTREAM_CONNECT_TIMEOUT', '0'),
    ('UPSTREAM_FIRST_BYTE_TIMEOUT', 'soon'),
    ('UPSTREAM_FIRST_BYTE_TIMEOUT', 'inf'),
    ('SESSION_BYTES', '-1'),
    ('SESSION_BYTES', '4MB'),
    ('SESSION_BYTES', '1'),
    ('SESSION_BYTES', '9GiB'),
    ('SESSION_TTL', 'nan'),
    ('SESSION_TTL', '1_0'),
    ('GC_INTERVAL', '0'),
    ('MAX_SESSIONS', '0'),
    ('MAX_SESSIONS', '1.5'),
    ('MAX_SESSIONS', '٣'),
    ('MAX_MEMORY', '64k'),
    ('OWNER_SHARE', '0'),
    ('OWNER_SHARE', '1.5'),
    ('OWNER_SHARE', '50%'),
    ('DRAIN', '-1'),
    ('SEND_TIMEOUT', '0'),
    ('SEND_TIMEOUT', 'never'),
    ('MAX_UPLOADS', '1'),
    ('MAX_UPLOADS', '0'),
    ('STREAM_TYPES', 'text'),
    ('STREAM_TYPES', '*/*'),
    ('STREAM_TYPES', 'text/plain; charset=utf-8'),
    ('DIR', 'relative/place'),
    ('API_KEYS', ' '),
    ('API_KEYS_FILE', ''),
    ('ON_DISCONNECT', 'stop'),
    ('LOG_FORMAT', 'JSON'),
    ('LOG_IDS', 'hash'),
    ('ON_DISCONNECT', 'grace='),
    ('CHAT', 'api/chat'),
    ('CHAT', '/v1/stream'),
    ('ID_FROM', 'X-Conversation-Id'),
    ('ID_FROM', 'header:two words'),
    ('ID_FROM', 'body:id,'),
    ('MAX_SESSION', '5'),
    ('upstream', 'http://host'),
]


def refused(service: Service, *words: str) -> str:
    """Start a service that must refuse to, with one line that has these words."""
    process = service.spawn()
    try:
        code = process.wait(START_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(40)
        pytest.fail(f'it started:\n{service.text()}')
    text = service.text()
    assert code == 1, text
    assert 'Traceback' not in text, text
    # gunicorn says that it starts before we are asked; the rest is our one line.
    lines = [line for line in text.splitlines() if '[INFO]' not in line]
    assert len(lines) == 1, text
    for word in words:
        assert word in lines[0]
    assert 'Listening at' not in text
    return lines[0]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a directory may be; nothing may be left there."""
    path = fresh_directory()
    guard = LeakGuard(path)
    yield path
    guard.check()


@pytest.mark.parametrize(('name', 'value'), BAD)
def test_a_bad_value_is_one_line_that_names_the_setting(
    tmp_path: Path, place: Path, name: str, value: str
) -> None:
    service = Service(tmp_path / 'log', settings={name: value}, directory=place)
    line = refused(service, f'SHMSTREAM_{name}')
    assert 'secret' not in line


def test_an_empty_value_is_the_default(serve: Callable[..., Service]) -> None:
    names = ('UPSTREAM', 'SESSION_BYTES', 'MAX_MEMORY', 'ON_DISCONNECT', 'DRAIN')
    service = serve(workers=1, settings=dict.fromkeys(names, ''))
    health = service.client().get('/healthz').json()
    assert health['room']['sessions'] == 4096


def test_values_may_have_units_and_spaces(serve: Callable[..., Service]) -> None:
    settings = {
        'SESSION_BYTES': ' 64kib ',
        'MAX_MEMORY': '1 MiB',
        'MAX_SESSIONS': '7',
        'ON_DISCONNECT': 'grace=0.5',
        'SESSION_TTL': '0.5',
    }
    service = serve(workers=1, settings=settings)
    room = service.client().get('/healthz').json()['room']
    assert room['sessions'] == 7
    assert room['bytes'] <= 1 << 20


def test_a_second_deployment_is_told_whose_the_directory_is(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    first = serve(workers=1)
    second = Service(tmp_path / 'second.log', workers=1, directory=first.directory)
    refused(second, str(first.master), 'SHMSTREAM_DIR', str(first.directory))
    # The first one has not noticed.
    with first.client().post('still', {'max_tokens': 2}) as post:
        assert post.rest().endswith(b'data: [DONE]\n\n')
    assert first.client().get('/healthz').status == 200


def test_a_directory_can_be_used_again(tmp_path: Path, place: Path) -> None:
    for n in range(2):
        with Service(tmp_path / f'log-{n}', workers=1, directory=place) as service:
            assert service.client().get('/healthz').status == 200


def test_the_directory_is_private(serve: Callable[..., Service]) -> None:
    service = serve(workers=1)
    with service.client().post('mine', {'max_tokens': 1}) as post:
        post.rest()
    found = [service.directory, *service.directory.rglob('*')]
    assert len(found) > 4
    for path in found:
        mode = path.lstat().st_mode
        assert stat.S_IMODE(mode) & 0o077 == 0, path


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    path.write_text('mine')
    refused(Service(tmp_path / 'log', directory=path), 'SHMSTREAM_DIR', str(path))
    assert path.read_text() == 'mine'


def test_a_directory_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'open'
    path.mkdir(mode=0o755)
    service = Service(tmp_path / 'log', directory=path)
    refused(service, 'SHMSTREAM_DIR', str(path), 'chmod 700')
    assert list(path.iterdir()) == []


def test_a_link_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / 'target').mkdir(mode=0o700)
    path = tmp_path / 'link'
    path.symlink_to(tmp_path / 'target')
    refused(Service(tmp_path / 'log', directory=path), 'SHMSTREAM_DIR', str(path))
    assert list((tmp_path / 'target').iterdir()) == []


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'not' / 'there'
    refused(Service(tmp_path / 'log', directory=path), 'SHMSTREAM_DIR', str(path))
    long = tmp_path / ('x' * 120)
    refused(Service(tmp_path / 'log', directory=long), 'SHMSTREAM_DIR', 'too long')
    assert not long.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    refused(Service(tmp_path / 'log', directory=Path('/')), '/')


def test_a_proxy_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    service = Service(
        tmp_path / 'log',
        settings={'UPSTREAM': 'https://host'},
        environment={'HTTPS_PROXY': 'socks5://u:secret@proxy', 'no_proxy': ''},
    )
    assert 'secret' not in refused(service, 'HTTPS_PROXY', 'http://')
