"""The six applications of ``docs/glue.md``: counted, and run under two workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docs.glue.__main__ import HERE, code, table
from tests.servers.asgi import free_port
from tests.support.client import Client
from tests.support.leaks import wait_until
from tests.support.service import ROOT, START_S, Service, fresh_directory

CONFIG = HERE / 'gunicorn.conf.py'
TEXT = ' '.join(str(number) for number in range(60))
WHOLE = ''.join(f'data: {number}\n\n' for number in range(60)).encode()
KINDS = {'fastapi': ('-k', 'asgi'), 'flask': ('-k', 'gthread', '--threads', '8')}

needs_redis = pytest.mark.skipif(
    shutil.which('redis-server') is None,
    reason='needs redis-server (.ci/debian installs it)',
)


def ask(client: Client, chat: str) -> bytes:
    reply = client.call(
        'POST',
        f'/chat/{chat}',
        json.dumps({'text': TEXT}).encode(),
        {'content-type': 'application/json'},
    )
    assert reply.status == 200
    return reply.body


def test_the_table_is_what_is_counted() -> None:
    assert table() in (ROOT / 'docs' / 'glue.md').read_text()


def test_only_code_is_counted(tmp_path: Path) -> None:
    file = tmp_path / 'some.py'
    file.write_text(
        '"""Words.\n\nMore."""\n\n# why\n@b\ndef f():\n    """It."""\n    g()  # x\n'
        'try:\n    1\nexcept E:\n    2\n'
    )
    assert code(file) == ['@b', 'def f():', 'g()', 'try:', '1', 'except E:', '2']


def test_how_it_is_formatted_makes_no_difference(tmp_path: Path) -> None:
    one, many = tmp_path / 'one.py', tmp_path / 'many.py'
    one.write_text('from a import b, c\nf(b, c); g()\n')
    many.write_text('from a import (\n    b,\n    c,\n)\nf(\n    b,\n    c,\n)\ng()\n')
    assert code(one) == code(many) == ['from a import b, c', 'f(b, c)', 'g()']


@pytest.mark.parametrize('framework', KINDS)
def test_a_plain_chat_answers(serve: Callable[..., Service], framework: str) -> None:
    with_ours(serve, framework, 'plain')


@pytest.mark.parametrize('framework', KINDS)
def test_the_chat_with_shmstream_resumes_and_stops(
    serve: Callable[..., Service], framework: str
) -> None:
    client = with_ours(serve, framework, 'shmstream')
    for _ in range(4):
        assert client.get('/chat/a?from=100').body == WHOLE[100:]
    assert client.delete('/chat/a').status == 204
    assert client.get('/chat/a').status == 404


def with_ours(serve: Callable[..., Service], framework: str, by: str) -> Client:
    ready = 'ASGI server listening' if framework == 'fastapi' else 'Booting worker'
    arguments = (*KINDS[framework], f'docs.glue.{framework}_{by}:app')
    service = serve(workers=2, config=CONFIG, arguments=arguments, ready=ready)
    client = service.client()
    assert ask(client, 'a') == WHOLE
    return client


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis server of its own."""
    port = free_port()
    command = [
        'redis-server',
        '--port',
        str(port),
        '--save',
        '',
        '--dir',
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        yield f'redis://127.0.0.1:{port}'
        server.terminate()


@needs_redis
@pytest.mark.parametrize('framework', KINDS)
def test_the_chat_with_redis_resumes_and_stops(
    redis_url: str, framework: str, tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, '-m', 'gunicorn', '-b', f'127.0.0.1:{port}', '-w', '2']
    command += [*KINDS[framework], '--no-control-socket']
    command += [f'docs.glue.{framework}_redis:app']
    client = Client(port)

    def up() -> bool:
        try:
            return client.get('/chat/never').status == 404
        except OSError:
            return False

    with (
        (tmp_path / 'log').open('wb') as log,
        subprocess.Popen(
            command,
            cwd=ROOT,
            # gunicorn finds the service's ``gunicorn.conf.py``, which has our hooks.
            env=os.environ
            | {'REDIS_URL': redis_url, 'SHMSTREAM_DIR': str(fresh_directory())},
            stdout=log,
            stderr=log,
        ) as server,
    ):
        try:
            assert wait_until(up, START_S), (tmp_path / 'log').read_text()
            assert ask(client, 'a') == WHOLE
            for _ in range(4):
                assert (
                    client.get('/chat/a?after=10').body
                    == WHOLE[WHOLE.index(b'data: 10\n') :]
                )
            assert client.delete('/chat/a').status == 204
        finally:
            server.send_signal(signal.SIGTERM)
