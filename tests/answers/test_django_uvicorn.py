"""Django under ``uvicorn --workers 2``: without gunicorn, and without hooks."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.answers.django_deployment import ASGI, ON_LOOP, Deployment
from tests.producing.scripted import whole
from tests.producing.steered import WHOLE
from tests.servers.asgi import AsgiServer
from tests.support.leaks import wait_until


class _Server(AsgiServer):
    """It serves the project instead of the service."""

    def healthy_workers(self) -> set[str]:
        with contextlib.suppress(OSError):
            return {self.client().get('/which').body.decode()}
        return set()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Deployment]:
    command = ('uvicorn', ASGI, '--port', '{port}', '--workers', '2')
    server = _Server(
        'uvicorn',
        tmp_path / 'log',
        command=command,
        environment={'ANSWERS_FOLDER': str(tmp_path)},
    )
    with server:
        yield Deployment('uvicorn', server, tmp_path, ON_LOOP)
    assert 'Traceback' not in server.text()
    assert 'ERROR' not in server.text()


def test_an_answer_is_followed_from_another_worker_and_stopped(
    there: Deployment,
) -> None:
    with there.begin('a') as post, there.elsewhere('a', post.worker) as other:
        assert other.until(len(post.body)) == post.body
        assert there.client.get(there.address('b')).status == 404
        assert there.client.delete(there.address('a')).status == 204
        for live in (post, other):
            assert live.rest() == whole(3)
            assert live.whole
    assert wait_until(lambda: there.gate('a').closed() == 'CancelledError')


def test_a_worker_that_is_told_to_stop_loses_nothing(there: Deployment) -> None:
    """1. SIGTERM to the worker that reads. 2. The reader resumes elsewhere."""
    with there.begin('a') as post, there.elsewhere('a', post.worker) as reader:
        reader.until(len(post.body))
        os.kill(reader.worker, signal.SIGTERM)
        data = reader.rest()
        assert reader.whole is False
        there.gate('a').open()
        assert data + there.read('a', len(data)) == WHOLE
        assert post.rest() == WHOLE
        assert post.whole


def test_an_answer_of_a_server_that_is_told_to_stop_ends_whole(
    there: Deployment,
) -> None:
    with there.begin('a') as post, there.elsewhere('a', post.worker) as reader:
        reader.until(len(post.body))
        there.server.terminate()
        reader.rest()
        assert reader.whole is False
        there.gate('a').open()
        assert post.rest() == WHOLE
        assert post.whole
        there.server.wait()
    assert there.gate('a').closed() == 'ended'
